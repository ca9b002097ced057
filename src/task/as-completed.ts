// Items in the order in which they end.
import { TimeoutError } from "./errors.ts";
import { type Item, type ItemResult, itemsOf, tasksFor } from "./item.ts";
import { currentClock, currentScope } from "./scope.ts";
import type { Task } from "./task.ts";
import { refusal, suspend, type Wait, type WaitKind, type WaitOptions } from "./wait.ts";

/** Options of `asCompleted`. */
export interface AsCompletedOptions extends WaitOptions {
  /** How long all the items may take together, in milliseconds. @default Infinity */
  readonly timeoutMs?: number | undefined;
}

/**
 * The tasks of `asCompleted`, in the order in which they end: `for await` gives
 * the tasks themselves, a plain `for` one promise for each item.
 */
export class Completions<T> implements AsyncIterableIterator<Task<T>>, Iterable<Promise<T>> {
  readonly #tasks: Set<Task<T>>;
  /** Ended and not taken yet */
  readonly #ended: Task<T>[] = [];
  readonly #line: Wait<never>[] = [];
  readonly #options: WaitOptions;
  /** How many have been asked for */
  #taken = 0;
  readonly #count: number;
  #timeUp = false;
  #callOff: (() => void) | undefined = undefined;

  /** @internal */
  constructor(tasks: readonly Task<T>[], timeoutMs: number, options: WaitOptions) {
    const all = new Set(tasks);
    this.#count = all.size;
    this.#options = options;
    this.#tasks = new Set();
    for (const task of all) {
      if (task.done()) {
        task.markRead();
        this.#ended.push(task);
      } else {
        this.#tasks.add(task);
        task.watch(this);
      }
    }
    if (timeoutMs < Infinity && this.#tasks.size > 0) {
      this.#callOff = currentClock().wakeAfter(Math.max(0, timeoutMs), this.#onTime);
    }
  }

  /** @internal */
  taskEnded(task: Task<unknown>): void {
    this.#tasks.delete(task as Task<T>);
    if (this.#tasks.size === 0) this.#callOff?.();
    const first = this.#line.shift();
    if (first === undefined) this.#ended.push(task as Task<T>);
    else first.resolve(stepWith(task) as never);
  }

  /** @internal */
  withdraw(wait: Wait<never>): void {
    this.#taken--;
    this.#line.splice(this.#line.indexOf(wait), 1);
  }

  /** @internal */
  get left(): Iterable<Task<unknown>> {
    return this.#tasks as Iterable<Task<unknown>>;
  }

  readonly #onTime = (): void => {
    this.#timeUp = true;
    for (const task of this.#tasks) task.unwatch(this);
    this.#tasks.clear();
    for (const wait of this.#line.splice(0)) wait.reject(timeUp());
  };

  /** The next task that has ended; a cancellation point. */
  async next(): Promise<IteratorResult<Task<T>, undefined>> {
    const scope = currentScope();
    const refused = refusal(scope, this.#options);
    if (refused !== undefined) throw refused as Error;
    if (this.#taken === this.#count) return { done: true, value: undefined };
    this.#taken++;
    const task = this.#ended.shift();
    if (task !== undefined) return stepWith(task);
    if (this.#timeUp) throw timeUp();
    const wait = suspend<IteratorYieldResult<Task<T>>>(completedWait, this, scope, this.#options);
    this.#line.push(wait as unknown as Wait<never>);
    return wait.promise;
  }

  async #nextResult(): Promise<T> {
    const { value } = await this.next();
    return (value as Task<T>).result();
  }

  /** It can be broken off and gone on with. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** One promise for each item: the n-th gives the result of the n-th to end. */
  *[Symbol.iterator](): Generator<Promise<T>, undefined> {
    while (this.#taken < this.#count) yield this.#nextResult();
  }
}

const completedWait: WaitKind = {
  name: "asCompleted",
  withdraw(wait) {
    (wait.target as Completions<unknown>).withdraw(wait);
  },
  awaited: (wait) => (wait.target as Completions<unknown>).left,
};

// Wrapped: a promise that is given a task would give the task's result.
function stepWith<T>(task: Task<T>): IteratorYieldResult<Task<T>> {
  return { done: false, value: task };
}

function timeUp(): TimeoutError {
  return new TimeoutError("Cannot wait for the remaining items: the time is up");
}

/**
 * Gives the items in the order in which they end: their tasks with `for await`,
 * promises of their results with a plain `for`. Functions are run as tasks, and
 * a promise is given as the task that waits for it.
 *
 * @throws {TypeError} If `items` is not a list of tasks, promises and async functions
 * @throws {RangeError} If `timeoutMs` is not a number
 * @throws {TimeoutError} From the iteration, in place of what has not ended in time
 *
 * @remarks
 * **When cancelled:** the step of the iteration ends; the items go on, none is
 * skipped, and the iteration can be gone on with.
 *
 * @example
 * ```ts
 * import { asCompleted, sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const order: string[] = [];
 * for await (const task of asCompleted([() => sleep(5, "slow"), () => sleep(1, "fast")])) {
 *   order.push(task.result());
 * }
 * assert.deepEqual(order, ["fast", "slow"]);
 * ```
 */
export function asCompleted<I extends Item<unknown>>(
  items: Iterable<I>,
  options: AsCompletedOptions = {},
): Completions<ItemResult<I>> {
  const { timeoutMs = Infinity } = options;
  if (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs)) {
    throw new RangeError(
      `Cannot iterate: timeoutMs must be a number, current value is ${String(timeoutMs)}`,
    );
  }
  const tasks = tasksFor(itemsOf("iterate", items)) as Task<ItemResult<I>>[];
  return new Completions(tasks, timeoutMs, options);
}
