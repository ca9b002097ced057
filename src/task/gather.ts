// Several items at once, with the results in the order of the items.
import type { CancelledError } from "./errors.ts";
import { type Item, type ItemResult, itemsOf, tasksFor } from "./item.ts";
import { currentScope } from "./scope.ts";
import { withSignal } from "./stretch.ts";
import { isPassing, type Task, type TaskWatcher } from "./task.ts";
import { suspend, takeOutstanding, type Wait, type WaitKind, type WaitOptions } from "./wait.ts";

/** Options of `gather`. */
export interface GatherOptions extends WaitOptions {
  /** Puts errors in their places among the results instead of throwing the first one. @default false */
  readonly returnExceptions?: boolean | undefined;
}

/** The results of a list of items, in its order. */
export type GatherResults<I extends readonly Item<unknown>[]> = {
  -readonly [K in keyof I]: ItemResult<I[K]>;
};

/** The results or errors of a list of items, in its order. */
export type GatherOutcomes<I extends readonly Item<unknown>[]> = {
  -readonly [K in keyof I]: ItemResult<I[K]> | Error;
};

class Gathering implements TaskWatcher {
  readonly #tasks: readonly Task<unknown>[];
  readonly #keepErrors: boolean;
  readonly #left: Set<Task<unknown>>;
  readonly wait: Wait<unknown[]>;
  #asked: CancelledError | undefined = undefined;
  /** While it is being cancelled: the first error that is no cancellation */
  #failed: Task<unknown> | undefined = undefined;

  constructor(tasks: readonly Task<unknown>[], keepErrors: boolean) {
    this.#tasks = tasks;
    this.#keepErrors = keepErrors;
    this.#left = new Set(tasks.filter((task) => !task.done()));
    this.wait = suspend(gatherWait, this);
  }

  get left(): Iterable<Task<unknown>> {
    return this.#left;
  }

  begin(outstanding: CancelledError | undefined): void {
    for (const task of this.#left) task.watch(this);
    if (outstanding !== undefined && !this.cancel(outstanding)) this.wait.reject(outstanding);
    for (const task of this.#tasks) {
      if (!task.done()) continue;
      task.markRead();
      this.#look(task);
    }
    if (this.#left.size === 0) this.#finish();
  }

  taskEnded(task: Task<unknown>): void {
    this.#left.delete(task);
    // It stays on the tasks after it has ended, so that later errors count as read.
    if (!this.wait.open) return;
    this.#look(task);
    if (this.#left.size === 0) this.#finish();
  }

  cancel(error: CancelledError): boolean {
    if (this.#left.size === 0) return false;
    this.#asked = error;
    for (const task of this.#left) {
      // One that waits for whoever waits here: the request has come round.
      if (isPassing(task)) this.wait.abandon(error);
      else task.request(error);
    }
    return true;
  }

  #look(task: Task<unknown>): void {
    if (this.#keepErrors || !task.failedOrCancelled) return;
    // Being cancelled it ends only after all have ended.
    if (this.#asked === undefined) this.wait.reject(task.outcome);
    else if (!task.cancelled()) this.#failed ??= task;
  }

  #finish(): void {
    if (this.#failed !== undefined) {
      this.wait.reject(this.#failed.outcome);
    } else if (this.#asked !== undefined) {
      // As with every cancelled wait: one that nobody awaits is no unhandled rejection.
      this.wait.promise.catch(() => {});
      this.wait.reject(this.#asked);
    } else this.wait.resolve(this.#tasks.map((task) => task.outcome));
  }
}

const gatherWait: WaitKind = {
  name: "gather",
  withdraw() {},
  pass: (wait, error) => (wait.target as Gathering).cancel(error),
  awaited: (wait) => (wait.target as Gathering).left,
};

/**
 * Waits for all items, which run at the same time, and gives their results in
 * the order of the items.
 *
 * A function is run as a task each time that it is listed; a task or a promise
 * that is listed twice is waited for once and appears twice.
 *
 * @param items Tasks, promises and async functions
 * @throws the first error, at once; the other items go on, and what fails of them later is read.
 * With `returnExceptions` errors stand among the results instead
 * @throws {TypeError} If an item is something else; nothing has been started then
 *
 * @remarks
 * **When cancelled:** every item that has not ended is cancelled, and `gather`
 * ends when all of them have, also with `returnExceptions`. The abort of
 * `signal` does the same and throws the signal's reason.
 *
 * @example
 * ```ts
 * import { gather, sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const results = await gather([() => sleep(2, "slow"), async () => "fast"]);
 * assert.deepEqual(results, ["slow", "fast"]);
 * ```
 */
export function gather<const I extends readonly Item<unknown>[]>(
  items: I,
  options?: GatherOptions & { readonly returnExceptions?: false | undefined },
): Promise<GatherResults<I>>;
export function gather<const I extends readonly Item<unknown>[]>(
  items: I,
  options: GatherOptions & { readonly returnExceptions: boolean },
): Promise<GatherOutcomes<I>>;
export function gather<I extends Item<unknown>>(
  items: Iterable<I>,
  options?: GatherOptions & { readonly returnExceptions?: false | undefined },
): Promise<ItemResult<I>[]>;
export function gather<I extends Item<unknown>>(
  items: Iterable<I>,
  options: GatherOptions & { readonly returnExceptions: boolean },
): Promise<(ItemResult<I> | Error)[]>;
export function gather(
  items: Iterable<Item<unknown>>,
  options?: GatherOptions,
): Promise<unknown[]> {
  const keepErrors = options?.returnExceptions === true;
  const signal = options?.signal;
  if (signal !== undefined) {
    return withSignal(signal, "gather", () => gather(items, { returnExceptions: keepErrors }));
  }
  let tasks: Task<unknown>[];
  try {
    tasks = tasksFor(itemsOf("gather", items));
  } catch (error) {
    return Promise.reject(error as Error);
  }
  // A request that is outstanding goes to the items at once.
  const scope = currentScope();
  const outstanding = scope === undefined ? undefined : takeOutstanding(scope);
  const gathering = new Gathering(tasks, keepErrors);
  gathering.begin(outstanding);
  return gathering.wait.promise;
}
