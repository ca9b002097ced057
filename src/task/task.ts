// A task: an async function with a name, that can be asked to stop and that
// says how it ended.
//
// Cancellation follows asyncio (spec lines 60 to 89): a request that is thrown
// where the task waits. What differs is that a task may have several waits at
// once, so a request ends all of them; and that what was handed over before
// the request came is delivered, the request being thrown at the next wait.
import { AsyncResource } from "node:async_hooks";
import type { Clock } from "./clock.ts";
import { CancelledError, cancellationOf, InvalidStateError } from "./errors.ts";
import { delist, enlist } from "./live.ts";
import {
  currentClock,
  currentScope,
  EnterPoint,
  enterScope,
  isInside,
  Scope,
  taskOf,
} from "./scope.ts";
import { cancelWaits, refusal, takeOutstanding, Wait, type WaitKind } from "./wait.ts";

type TaskState = "scheduled" | "running" | "returned" | "failed" | "cancelled";

/** The function that a task runs; it is given its task. */
export type Work<T> = (task: Task) => T | PromiseLike<T>;

/** Options of `createTask`. */
export interface TaskOptions {
  /** A name to be found by. @default Task-1, Task-2 … */
  readonly name?: string | undefined;
  /** Runs the work at once, up to its first wait, instead of on the next microtask. @default false */
  readonly eager?: boolean | undefined;
}

/**
 * Whoever is told of a task's end at once: what waits for several tasks.
 *
 * @internal
 */
export interface TaskWatcher {
  /** Called once, synchronously, when the task has ended and before anybody who awaits it goes on */
  taskEnded(task: Task<unknown>): void;
  /** A name for a task that was given none, made only when somebody looks */
  nameOf?(task: Task<unknown>): string | undefined;
}

/**
 * Who answers for a task's failure: a group, a session.
 *
 * @internal
 */
export type TaskKeeper = TaskWatcher;

interface DoneCallback {
  readonly call: (task: never) => unknown;
  readonly context: AsyncResource;
}

let count = 0;

// Whose waits are being ended just now. Tasks that wait for each other in a
// ring would pass a request on for ever: where it comes round, the wait ends.
const passing = new Set<Task<unknown>>();

/** @internal */
export function isPassing(task: Task<unknown>): boolean {
  return passing.has(task);
}

function ignore(): void {}

/**
 * A running async function: `await` it for its result, `cancel` it to ask it to stop.
 *
 * Made by `createTask`. When the task that awaits it is cancelled meanwhile,
 * it is cancelled too; `shield` prevents that.
 */
export class Task<T = unknown> implements PromiseLike<T> {
  /** Requests that wait for a wait, in all its scopes @internal */
  outstanding = 0;
  readonly #id = ++count;
  #name: string | undefined;
  readonly #workName: string;
  #state: TaskState = "scheduled";
  #value: unknown = undefined;
  #cancelCount = 0;
  #askedItself = false;
  /** The last request; what an AbortError that leaves the work is taken for */
  #asked: CancelledError | undefined = undefined;
  /** Where a request has been thrown in this very turn and nobody has seen it yet */
  #inFlight: (Scope | undefined)[] | undefined = undefined;
  #awaiters: Wait<never>[] | undefined = undefined;
  #callbacks: (DoneCallback | TaskWatcher)[] | undefined = undefined;
  #abort: AbortController | undefined = undefined;
  #unread: Promise<never> | undefined = undefined;
  #read = false;

  /** @internal */
  scope: Scope;
  /** The youngest of its outstanding waits @internal */
  lastWait: Wait<never> | undefined = undefined;
  /** @internal */
  keeper: TaskKeeper | undefined = undefined;
  /** Neighbours in the list of live tasks @internal */
  newer: Task<unknown> | undefined = undefined;
  /** @internal */
  older: Task<unknown> | undefined = undefined;

  /** @internal */
  constructor(scope: Scope | undefined, name: string | undefined, workName: string) {
    this.#name = name;
    this.#workName = workName;
    this.scope = scope ?? new Scope(undefined, undefined, currentClock(), undefined, undefined);
    this.scope.task = this;
  }

  /** Its name, for people. */
  get name(): string {
    return this.#name ?? this.keeper?.nameOf?.(this as Task<unknown>) ?? `Task-${this.#id}`;
  }

  set name(name: string) {
    this.#name = String(name);
  }

  /** Aborted when cancellation is asked for, with the `CancelledError` as its reason; made on first use. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#asked !== undefined && this.#cancelCount > 0) this.#abort.abort(this.#asked);
    }
    return this.#abort.signal;
  }

  /**
   * Asks the task to stop: a `CancelledError` is thrown at each place where it
   * waits, or at its next wait. The task may clean up, or deny the request;
   * whether it was cancelled is known when it has ended.
   *
   * @param reason Carried by the `CancelledError`
   * @returns false when the task had ended
   */
  cancel(reason?: unknown): boolean {
    return this.request(new CancelledError(reason, this));
  }

  /** How many requests to stop are outstanding: asked for and not taken back. */
  cancelling(): number {
    return this.#cancelCount;
  }

  /**
   * Takes one request back; at none left, one that was not thrown yet is withdrawn.
   *
   * @returns how many are left
   */
  uncancel(): number {
    if (this.scope.requests > 0) this.scope.requests--;
    this.countDown();
    if (this.#cancelCount === 0 && !this.done()) {
      const here = currentScope();
      takeOutstanding(here?.task === (this as Task<unknown>) ? here : this.scope);
    }
    return this.#cancelCount;
  }

  /** Whether it has ended, in whatever way. */
  done(): boolean {
    return this.#state !== "scheduled" && this.#state !== "running";
  }

  /** Whether it has ended by a cancellation. */
  cancelled(): boolean {
    return this.#state === "cancelled";
  }

  /**
   * What it returned.
   *
   * @throws {InvalidStateError} If it has not ended
   * @throws its own error, or the `CancelledError`, if it ended by one
   */
  result(): T {
    if (!this.done()) throw notDone(this as Task<unknown>);
    if (this.#state === "returned") return this.#value as T;
    this.markRead();
    throw this.#value;
  }

  /**
   * Its error, or `undefined` when it has returned.
   *
   * @throws {InvalidStateError} If it has not ended
   * @throws {CancelledError} If it was cancelled
   */
  exception(): unknown {
    if (!this.done()) throw notDone(this as Task<unknown>);
    if (this.#state === "cancelled") throw this.#value;
    this.markRead();
    return this.#state === "failed" ? this.#value : undefined;
  }

  /**
   * Calls `callback` with the task soon after it has ended, in the context of
   * this call; never at once. What it throws is an uncaught exception.
   */
  addDoneCallback(callback: (task: Task<T>) => unknown): void {
    const entry: DoneCallback = { call: callback, context: new AsyncResource("HeddleCallback") };
    this.markRead();
    if (this.done()) this.#schedule(entry);
    else (this.#callbacks ??= []).push(entry);
  }

  /** Takes every registration of `callback` off; gives how many there were. */
  removeDoneCallback(callback: (task: Task<T>) => unknown): number {
    const before = this.#callbacks ?? [];
    const kept = before.filter((entry) => !("call" in entry) || entry.call !== callback);
    this.#callbacks = kept;
    return before.length - kept.length;
  }

  /** What `await` calls: waits for the end, as a cancellation point. */
  // oxlint-disable-next-line no-thenable -- a task is awaited: that is the point
  then<R = T, E = never>(
    onValue?: ((value: T) => R | PromiseLike<R>) | null,
    onError?: ((error: unknown) => E | PromiseLike<E>) | null,
  ): Promise<R | E> {
    return this.wait().then(onValue, onError);
  }

  /** `<Task pending name='…' work=… waiting on Queue.get>` */
  toString(): string {
    const waits: string[] = [];
    for (let wait = this.lastWait; wait !== undefined; wait = wait.before) {
      waits.unshift(waitText(wait));
    }
    const state = this.#stateText(waits.length > 0);
    const work = this.#workName === "" ? "" : ` work=${this.#workName}`;
    const waiting = waits.length > 0 ? ` waiting on ${waits.join(" and ")}` : "";
    return `<Task ${state} name='${this.name}'${work}${waiting}>`;
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value: this.prototype.toString,
    });
  }

  #stateText(waits: boolean): string {
    if (this.#state === "returned") return `finished result=${shortText(this.#value)}`;
    if (this.#state === "failed") return `finished exception=${shortText(this.#value)}`;
    if (this.#state === "cancelled") return "cancelled";
    if (this.#cancelCount === 0) return "pending";
    return waits || this.#state === "scheduled"
      ? "cancelling"
      : "cancelling, not interruptible here";
  }

  // What follows is the library's own side of a task.

  /** The promise that an awaiter in the current scope gets. @internal */
  wait(): Promise<T> {
    const scope = currentScope();
    const mine = scope === undefined ? undefined : taskOf(scope);
    if (this.done()) {
      this.markRead();
      const refused = refusal(scope, undefined);
      if (refused !== undefined) return Promise.reject(refused as Error);
      if (this.#state === "returned") return Promise.resolve(this.#value as T);
      return Promise.reject(this.#value as Error);
    }
    if (mine === (this as Task<unknown>)) {
      const error = new InvalidStateError(`Cannot await a task in itself: ${this.toString()}`);
      return Promise.reject(error);
    }
    // A request that is outstanding goes to the awaited task at once.
    if (scope !== undefined && mine !== undefined && mine.outstanding > 0) {
      const asked = takeOutstanding(scope);
      if (asked !== undefined) this.request(asked);
    }
    const wait = new Wait<T>(taskWait, this, scope, undefined, undefined);
    this.serve(wait as unknown as Wait<never>);
    return wait.promise;
  }

  /** Ends `wait` with its own result when it ends. Not for a task that has ended. @internal */
  serve(wait: Wait<never>): void {
    (this.#awaiters ??= []).push(wait);
  }

  /** Takes an awaiter off that no longer waits. @internal */
  forget(wait: Wait<never>): void {
    const awaiters = this.#awaiters;
    const at = awaiters?.indexOf(wait) ?? -1;
    if (at >= 0) awaiters?.splice(at, 1);
  }

  /** Tells `watcher` when it ends; its failure counts as read then. Not for a task that has ended. @internal */
  watch(watcher: TaskWatcher): void {
    (this.#callbacks ??= []).push(watcher);
  }

  /** @internal */
  unwatch(watcher: TaskWatcher): void {
    const at = this.#callbacks?.indexOf(watcher) ?? -1;
    if (at >= 0) this.#callbacks?.splice(at, 1);
  }

  /** The last request for the task as a whole, while any request is outstanding. @internal */
  get asked(): CancelledError | undefined {
    return this.#cancelCount > 0 ? this.#asked : undefined;
  }

  /** Asks it to stop with an error that was made elsewhere. @internal */
  request(error: CancelledError): boolean {
    if (this.done()) return false;
    this.#asked = error;
    this.scope.requests++;
    this.#cancelCount++;
    // The state first: an abort listener may look at the task.
    this.throwIn(this.scope, error, currentScope()?.task === (this as Task<unknown>));
    this.#abort?.abort(error);
    return true;
  }

  /**
   * Throws `error` where the task waits inside `scope`, or at its next wait there.
   *
   * @param byItself Whether the code that asks is the task's own
   * @internal
   */
  throwIn(scope: Scope, error: CancelledError, byItself: boolean): void {
    const whole = scope === this.scope;
    const before = this.#waitScopes(whole ? undefined : scope);
    const outermost = !passing.has(this as Task<unknown>);
    passing.add(this as Task<unknown>);
    const taken = cancelWaits(this as Task<unknown>, whole ? undefined : scope, error);
    if (outermost) passing.delete(this as Task<unknown>);
    if (taken) {
      if (this.#inFlight === undefined) {
        this.#inFlight = before;
        queueMicrotask(() => (this.#inFlight = undefined));
      } else this.#inFlight.push(...before);
      return;
    }
    // Thrown a moment ago and not seen yet: the two are one.
    const unseen = this.#inFlight?.some((at) => whole || isInside(at, scope)) === true;
    if (unseen && !byItself) return;
    this.pend(scope, error);
    if (whole) this.#askedItself = byItself;
  }

  /** Keeps `error` for the next wait in `scope`. @internal */
  pend(scope: Scope, error: CancelledError): void {
    if (scope.pending === undefined) this.outstanding++;
    scope.pending = error;
    this.#askedItself = false;
  }

  #waitScopes(within: Scope | undefined): (Scope | undefined)[] {
    const scopes: (Scope | undefined)[] = [];
    for (let wait = this.lastWait; wait !== undefined; wait = wait.before) {
      if (within === undefined || isInside(wait.scope, within)) scopes.push(wait.scope);
    }
    return scopes;
  }

  /** @internal */
  countUp(): void {
    this.#cancelCount++;
  }

  /** @internal */
  countDown(): void {
    if (this.#cancelCount > 0) this.#cancelCount--;
  }

  /** Runs `work` in the task's scope, which the caller has entered. @internal */
  start(work: Work<T>): void {
    if (this.done()) return;
    const refused = this.scope.pending;
    if (refused !== undefined) {
      this.end("cancelled", refused);
      return;
    }
    this.#state = "running";
    try {
      const result = work(this as Task<unknown>);
      if (isThenable(result)) this.follow(result);
      else this.returned(result as T);
    } catch (error) {
      this.threw(error);
    }
  }

  /** Ends when `result` does; called in the task's own scope. @internal */
  follow(result: PromiseLike<T>): void {
    // A thenable's own `then` is called by Promise.resolve in a microtask, in
    // this context: awaiting a task that the work returned is a wait of ours.
    // What follows finds its task by the context, so that no task needs
    // functions of its own.
    void Promise.resolve(result).then(workReturned, workThrew);
  }

  /** @internal */
  returned(value: T): void {
    const pending = this.scope.pending;
    if (pending !== undefined && this.#askedItself) this.end("cancelled", pending);
    else this.end("returned", value);
  }

  /** @internal */
  threw(error: unknown): void {
    const cancellation = cancellationOf(error, this.asked);
    if (cancellation === undefined) this.end("failed", error);
    else this.end("cancelled", cancellation);
  }

  /** @internal */
  begin(): void {
    this.#state = "running";
  }

  /** @internal */
  end(state: "returned" | "failed" | "cancelled", value: unknown): void {
    this.#state = state;
    this.#value = value;
    this.#inFlight = undefined;
    delist(this);
    this.keeper?.taskEnded(this);
    const awaiters = this.#awaiters;
    const callbacks = this.#callbacks;
    this.#awaiters = this.#callbacks = undefined;
    if (awaiters?.length || callbacks?.length) this.#read = true;
    if (state === "failed" && !awaiters?.length && !callbacks?.length && !this.keeper) {
      // As a promise does: an unhandled rejection, unless somebody reads the
      // error before the microtasks have run.
      this.#unread = Promise.reject(value as Error);
    }
    if (callbacks !== undefined) {
      for (const entry of callbacks) {
        if ("call" in entry) this.#schedule(entry);
        else entry.taskEnded(this as Task<unknown>);
      }
    }
    if (awaiters !== undefined) {
      for (const wait of awaiters) {
        if (state === "returned") wait.resolve(value as never);
        else wait.reject(value);
      }
    }
  }

  /** Its result or its error, once it has ended; looking is not reading. @internal */
  get outcome(): unknown {
    return this.#value;
  }

  /** @internal */
  get failedOrCancelled(): boolean {
    return this.#state === "failed" || this.#state === "cancelled";
  }

  /** Somebody has looked at its failure. @internal */
  markRead(): void {
    this.#read = true;
    this.#unread?.catch(ignore);
    this.#unread = undefined;
  }

  /** Whether anybody has looked at how it ended. @internal */
  wasRead(): boolean {
    return this.#read;
  }

  /** @internal */
  succeeded(): boolean {
    return this.#state === "returned";
  }

  #schedule(entry: DoneCallback): void {
    queueMicrotask(() =>
      entry.context.runInAsyncScope(entry.call as () => unknown, undefined, this),
    );
  }
}

function workReturned(value: unknown): void {
  currentScope()?.task?.returned(value);
}

function workThrew(error: unknown): void {
  currentScope()?.task?.threw(error);
}

const taskWait: WaitKind = {
  name: "task",
  withdraw(wait) {
    (wait.target as Task<unknown>).forget(wait);
  },
  pass(wait, error) {
    const task = wait.target as Task<unknown>;
    if (!passing.has(task)) return task.request(error);
    wait.abandon(error);
    return true;
  },
  awaited: (wait) => [wait.target as Task<unknown>],
};

function waitText(wait: Wait<never>): string {
  return wait.target instanceof Task ? `task '${wait.target.name}'` : wait.kind.name;
}

function shortText(value: unknown): string {
  if (value instanceof Error) return `${value.name}(${JSON.stringify(value.message)})`;
  if (typeof value === "object" && value !== null)
    return `[${value.constructor?.name ?? "object"}]`;
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function notDone(task: Task<unknown>): InvalidStateError {
  return new InvalidStateError(`Cannot read the result: ${task.toString()} has not ended`);
}

/** @internal */
export function isThenable(value: unknown): value is PromiseLike<never> {
  return (
    value !== null &&
    (typeof value === "object" || typeof value === "function") &&
    typeof (value as { then?: unknown }).then === "function"
  );
}

/**
 * Runs `work` as a task. Its first step comes on the next microtask; with
 * `eager` it runs at once, up to its first wait. A task that is cancelled
 * before its first step never runs.
 *
 * @throws {TypeError} If `work` is not a function; nothing has been started then
 *
 * @example
 * ```ts
 * import { createTask, sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const task = createTask(async () => {
 *   await sleep(1);
 *   return 42;
 * }, { name: "answer" });
 * assert.equal(await task, 42);
 * ```
 */
export function createTask<T>(work: Work<T>, options?: TaskOptions): Task<T> {
  const task = makeTask(work, options);
  task.scope.owner?.adopt(task as Task<unknown>);
  launch(task, work, options?.eager === true);
  return task;
}

/**
 * A task that has not been launched yet, so that whoever keeps it can take it on first.
 *
 * @internal
 */
export function makeTask<T>(work: Work<T>, options?: TaskOptions, clock?: Clock): Task<T> {
  if (typeof work !== "function") {
    const given = isThenable(work) ? "a promise" : shortText(work);
    throw new TypeError(
      `Cannot create a task of ${given}: pass the function itself, as in createTask(work) or createTask(() => work(…))`,
    );
  }
  const around = currentScope();
  const scope = new Scope(
    undefined,
    undefined,
    clock ?? around?.clock ?? currentClock(),
    around?.owner,
    around?.root,
  );
  const name = options?.name === undefined ? undefined : String(options.name);
  const task = new Task<T>(scope, name, work.name);
  enlist(task as Task<unknown>);
  return task;
}

/** Gives a task its first step. @internal */
export function launch<T>(task: Task<T>, work: Work<T>, eager: boolean): void {
  if (eager) {
    // A context of its own: what the work enters there does not reach the caller's.
    new EnterPoint().runInAsyncScope(() => {
      enterScope(task.scope);
      task.start(work);
    });
    return;
  }
  // A promise's reaction keeps the context of here, and its own context ends
  // with it; a queueMicrotask would cost an AsyncResource more.
  void resolved.then(() => {
    enterScope(task.scope);
    task.start(work);
  });
}

const resolved = Promise.resolve();

/** The task that runs this code, or `undefined` outside any. */
export function currentTask(): Task<unknown> | undefined {
  const scope = currentScope();
  const task = scope === undefined ? undefined : taskOf(scope);
  return task === undefined || task.done() ? undefined : task;
}
