// The one suspend point: every wait of every primitive is a `Wait`.
//
// So cancellation has one door (end all waits of a task, or those inside a
// scope), and so has whoever asks what a task is waiting for. A wait is in two
// lists: its task's outstanding waits, kept here, and the line of what it
// waits for (`sync/wait-line.ts`), kept by that primitive.
import { currentScope, isInside, taskOf, type Scope } from "./scope.ts";
import type { CancelledError } from "./errors.ts";
import type { Task } from "./task.ts";

/** What every wait of the library accepts. */
export interface WaitOptions {
  /** Ends the wait with the signal's reason; nothing is lost by it */
  readonly signal?: AbortSignal | undefined;
}

/**
 * What a primitive says about one of its waits. One constant object for each
 * operation; what differs from wait to wait is in the wait.
 *
 * @internal
 */
export interface WaitKind {
  /** As it is printed: `Queue.get` */
  readonly name: string;
  /** The wait ends with `error` and without being served: take it off its line */
  withdraw(wait: Wait<never>, error: unknown): void;
  /**
   * For a wait that does not end when it is cancelled, but passes the request
   * on (a task that awaits a task). False when nobody took it.
   */
  pass?(wait: Wait<never>, error: CancelledError): boolean;
  /** The tasks that it waits for, for whoever draws who waits for whom */
  awaited?(wait: Wait<never>): Iterable<Task<unknown>>;
  /** Set when no outside event is ever expected: never reported as lost */
  readonly deliberate?: boolean;
}

let resolveNew: (value: never) => void;
let rejectNew: (error: unknown) => void;
function capture(resolve: (value: never) => void, reject: (error: unknown) => void): void {
  resolveNew = resolve;
  rejectNew = reject;
}
function ignore(): void {}
// Before Node 26 they hold their promise, and so its value, as long as they are held.
function forget(): void {
  resolveNew = rejectNew = ignore;
}

// So that `waitFor(queue.get(), 5)` can withdraw the wait behind a promise.
const waitOfPromise = Symbol("heddle.wait");

/** @internal */
export class Wait<T> {
  readonly kind: WaitKind;
  /** What is waited for: the queue, the lock, the task */
  target: object;
  promise: Promise<T>;
  scope: Scope | undefined;
  /** Whose cancellation ends it; none once it is detached */
  task: Task<unknown> | undefined;
  /** Whatever the primitive wants to keep with it: the item of a put */
  item: unknown;
  /** Neither served nor ended yet */
  open = true;
  /** Neighbours among its task's outstanding waits */
  before: Wait<never> | undefined = undefined;
  after: Wait<never> | undefined = undefined;
  /** Neighbours in the line of what it waits for */
  ahead: Wait<never> | undefined = undefined;
  behind: Wait<never> | undefined = undefined;
  #resolve: (value: T) => void;
  #reject: (error: unknown) => void;
  readonly #signal: AbortSignal | undefined;

  constructor(
    kind: WaitKind,
    target: object,
    scope: Scope | undefined,
    signal: AbortSignal | undefined,
    item: unknown,
    findable = true,
  ) {
    this.kind = kind;
    this.target = target;
    this.item = item;
    this.scope = scope;
    const promise = new Promise<T>(capture);
    this.#resolve = resolveNew as (value: unknown) => void;
    this.#reject = rejectNew;
    forget();
    this.promise = promise;
    if (findable) findBehind(promise, this);
    this.task = scope === undefined ? undefined : taskOf(scope);
    if (this.task !== undefined) link(this.task, this as unknown as Wait<never>);
    this.#signal = signal;
    // The wait itself is the listener: no closure, and it can be taken off.
    signal?.addEventListener("abort", this);
  }

  /**
   * Begins the next wait of the same kind for the same target: for whoever
   * waits over and over, one at a time, and without a signal.
   */
  again(scope: Scope | undefined): Promise<T> {
    const promise = new Promise<T>(capture);
    this.#resolve = resolveNew as (value: unknown) => void;
    this.#reject = rejectNew;
    forget();
    this.promise = promise;
    this.scope = scope;
    this.task = scope === undefined ? undefined : taskOf(scope);
    if (this.task !== undefined) link(this.task, this as unknown as Wait<never>);
    this.open = true;
    return promise;
  }

  /** Serves it: what it waited for has come. */
  resolve(value: T): void {
    if (!this.open) return;
    this.#close();
    this.#resolve(value);
  }

  /** Ends it with an error of what it waited for. */
  reject(error: unknown): void {
    if (!this.open) return;
    this.#close();
    this.#reject(error);
  }

  /** Takes it off its line and ends it with a cancellation or a signal's reason. */
  abandon(error: unknown): void {
    if (!this.open) return;
    this.kind.withdraw(this as unknown as Wait<never>, error);
    if (!this.open) return;
    // A wait that nobody awaits (one strand of several) must not become an
    // unhandled rejection because its task was cancelled.
    this.promise.catch(ignore);
    this.reject(error);
  }

  /** Answers the abort of its signal. */
  handleEvent(): void {
    this.abandon(this.#signal?.reason);
  }

  #close(): void {
    this.open = false;
    if (this.task !== undefined) unlink(this.task, this as unknown as Wait<never>);
    this.#signal?.removeEventListener("abort", this);
  }
}

/** Lets `waitBehind(promise)` find `wait`. @internal */
export function findBehind(promise: unknown, wait: unknown): void {
  (promise as { [waitOfPromise]?: unknown })[waitOfPromise] = wait;
}

/** The wait behind a promise that came from a library wait. @internal */
export function waitBehind(promise: unknown): Wait<unknown> | undefined {
  return (promise as { [waitOfPromise]?: Wait<unknown> })[waitOfPromise];
}

/** From here on a cancellation of its task does not end it. @internal */
export function detach(wait: Wait<unknown>): void {
  if (!wait.open || wait.task === undefined) return;
  unlink(wait.task, wait as unknown as Wait<never>);
  wait.task = undefined;
}

function link(task: Task<unknown>, wait: Wait<never>): void {
  wait.before = task.lastWait;
  if (task.lastWait !== undefined) task.lastWait.after = wait;
  task.lastWait = wait;
}

function unlink(task: Task<unknown>, wait: Wait<never>): void {
  if (wait.after !== undefined) wait.after.before = wait.before;
  else task.lastWait = wait.before;
  if (wait.before !== undefined) wait.before.after = wait.after;
  wait.before = wait.after = undefined;
}

/**
 * Lets an outstanding cancellation in, or an aborted signal: what every wait
 * does first, also one that need not wait.
 *
 * @returns an error to throw, or `undefined`
 * @internal
 */
export function refusal(scope: Scope | undefined, options: WaitOptions | undefined): unknown {
  if (scope !== undefined && scope.task !== undefined && scope.task.outstanding > 0) {
    const error = takeOutstanding(scope);
    if (error !== undefined) return error;
  }
  const signal = options?.signal;
  return signal !== undefined && signal.aborted ? signal.reason : undefined;
}

/** Takes the request that waits for the next wait in `scope`, the outermost first. @internal */
export function takeOutstanding(scope: Scope): CancelledError | undefined {
  let error: CancelledError | undefined;
  // One error is thrown for all of them: requests that nobody has seen yet are one.
  for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
    if (at.pending === undefined) continue;
    error = at.pending;
    at.pending = undefined;
    if (at.task !== undefined) at.task.outstanding--;
  }
  return error;
}

/**
 * Begins a wait in the current scope. The caller has asked {@link refusal}
 * first and puts the wait in its line.
 *
 * @internal
 */
export function suspend<T>(
  kind: WaitKind,
  target: object,
  scope: Scope | undefined = currentScope(),
  options?: WaitOptions,
  item?: unknown,
): Wait<T> {
  return new Wait<T>(kind, target, scope, options?.signal, item);
}

/**
 * Ends every outstanding wait of `task` that lies inside `within` (all of them
 * without it) with the same error.
 *
 * @returns false when nothing took the request
 * @internal
 */
export function cancelWaits(
  task: Task<unknown>,
  within: Scope | undefined,
  error: CancelledError,
): boolean {
  let taken = false;
  // A list of its own: a wait that ends may begin or end others.
  const waits: Wait<never>[] = [];
  for (let wait = task.lastWait; wait !== undefined; wait = wait.before) waits.push(wait);
  for (const wait of waits.reverse()) {
    if (within !== undefined && !isInside(wait.scope, within)) continue;
    if (cancelWait(wait, error)) taken = true;
  }
  return taken;
}

/** Ends one wait with `error`, or lets it pass the request on. @internal */
export function cancelWait(wait: Wait<never>, error: CancelledError): boolean {
  if (!wait.open) return false;
  if (wait.kind.pass !== undefined) return wait.kind.pass(wait, error);
  wait.abandon(error);
  return true;
}
