// A stretch of a task that can be asked to stop by itself: what `timeout`,
// `taskGroup` and a wait with a signal have in common.
//
// asyncio's rule for all of them (spec 88): whoever asked takes its request
// back on the way out, whatever leaves, and turns the cancellation into
// something else only if nobody around it has asked since it was entered. The
// count of the task is not enough to tell that, because two strands of one
// task can each have a stretch: what is compared is the requests of the scopes
// around this one.
import { CancelledError, cancellationOf } from "./errors.ts";
import { currentScope, runInScope, Scope, taskOf } from "./scope.ts";
import { createTask, type Task } from "./task.ts";
import { takeOutstanding } from "./wait.ts";

const asking = new WeakMap<Scope, CancelledError>();

/** @internal */
export class Stretch {
  readonly task: Task<unknown>;
  readonly scope: Scope;
  readonly #outer: Scope;
  /** The requests of each scope around it at its entry, from the inside out */
  readonly #before: number[] = [];
  #asked: CancelledError | undefined = undefined;
  #left = false;

  constructor(task: Task<unknown>, outer: Scope) {
    this.task = task;
    this.#outer = outer;
    this.scope = new Scope(task, outer, outer.clock, outer.owner, outer.root);
    for (let at: Scope | undefined = outer; at !== undefined; at = at.outer) {
      this.#before.push(at.requests);
    }
  }

  /** Its own request, if it made one */
  get asked(): CancelledError | undefined {
    return this.#asked;
  }

  /** Runs `work` in it. */
  enter<A, R>(work: (arg: A) => R, arg: A): R {
    return runInScope(this.scope, work, arg);
  }

  /** Asks what runs in it to stop; once, and not after it was left. */
  ask(error: CancelledError): void {
    if (this.#asked !== undefined || this.#left) return;
    this.#asked = error;
    asking.set(this.scope, error);
    this.scope.requests++;
    this.task.countUp();
    this.task.throwIn(this.scope, error, false);
  }

  /** The way out: its request is taken back, also one that was not thrown yet. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    if (this.#asked === undefined) return;
    this.scope.requests--;
    this.task.countDown();
    if (this.scope.pending === undefined) return;
    this.scope.pending = undefined;
    this.task.outstanding--;
  }

  /** Whether anybody around it has asked to stop since it was entered. */
  askedFromOutside(): boolean {
    return this.#asker() !== undefined;
  }

  /** The outermost scope around it with more requests than at its entry. */
  #asker(): Scope | undefined {
    let asker: Scope | undefined;
    let level = 0;
    for (let at: Scope | undefined = this.#outer; at !== undefined; at = at.outer) {
      if (at.requests > (this.#before[level++] ?? 0)) asker = at;
    }
    return asker;
  }

  /**
   * The error to throw when somebody around it has asked: `thrown`, unless that
   * is its own request and the other one was merged with it.
   */
  outsideError(thrown: CancelledError): CancelledError {
    const outstanding = takeOutstanding(this.#outer);
    if (outstanding !== undefined) return outstanding;
    return thrown === this.#asked ? (askedOf(this.#asker()) ?? thrown) : thrown;
  }

  /** Has a request from outside thrown again at the next wait there: what is thrown now hides it. */
  repeatOutside(): void {
    const asker = this.#asker();
    const asked = askedOf(asker);
    if (asker !== undefined && asked !== undefined) this.task.pend(asker, asked);
  }
}

function askedOf(scope: Scope | undefined): CancelledError | undefined {
  return scope === undefined ? undefined : (asking.get(scope) ?? scope.task?.asked);
}

/** The request that the code in `scope` is subject to, whether it has been thrown or not. @internal */
export function askedAround(scope: Scope | undefined): CancelledError | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    if (at.requests === 0) continue;
    const asked = askedOf(at);
    if (asked !== undefined) return asked;
  }
  return undefined;
}

/**
 * Runs `body` with the task it is called in and that task's scope; outside any
 * task it becomes a new root task.
 *
 * @internal
 */
export function inTask<T>(
  name: string,
  body: (task: Task<unknown>, scope: Scope) => Promise<T>,
): Promise<T> {
  const scope = currentScope();
  const task = scope === undefined ? undefined : taskOf(scope);
  if (scope !== undefined && task !== undefined && !task.done()) return body(task, scope);
  const root = (own: Task<unknown>): Promise<T> => body(own, own.scope);
  return createTask(root, { name, eager: true }).wait();
}

/**
 * Runs `work` in a stretch that the abort of `signal` cancels; then the
 * signal's reason is thrown once it has stopped.
 *
 * @internal
 */
export function withSignal<T>(
  signal: AbortSignal,
  name: string,
  work: () => PromiseLike<T>,
): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason as Error);
  return inTask(name, async (task, outer) => {
    const stretch = new Stretch(task, outer);
    const onAbort = (): void => stretch.ask(new CancelledError(signal.reason, task));
    signal.addEventListener("abort", onAbort);
    try {
      return await stretch.enter(work, undefined);
    } catch (error) {
      stretch.leave();
      const cancellation = cancellationOf(error, stretch.asked);
      if (cancellation === undefined || stretch.asked === undefined) throw error;
      if (stretch.askedFromOutside()) throw stretch.outsideError(cancellation);
      throw signal.reason;
    } finally {
      stretch.leave();
      signal.removeEventListener("abort", onAbort);
    }
  });
}
