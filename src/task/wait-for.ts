// A deadline for one item.
import { attend } from "./cancellable.ts";
import { CancelledError } from "./errors.ts";
import { checkItem, type Item } from "./item.ts";
import { currentScope } from "./scope.ts";
import { withSignal } from "./stretch.ts";
import { Task } from "./task.ts";
import { checkMs, timeout, timeoutError } from "./timeout.ts";
import { refusal, type WaitOptions } from "./wait.ts";

/**
 * Waits for `item`, for at most `ms` milliseconds.
 *
 * @param item A task or what an async function does is cancelled when the time
 * is up, and has stopped before the error is thrown. A promise that came from a wait of the
 * library is withdrawn from its line: `waitFor(queue.get(), 5)` takes nothing later. Any other
 * promise is abandoned
 * @param ms The time allowed; `null` waits without limit. With zero or less a function is not
 * called, a running task is cancelled, and what has its value already gives it
 * @returns what `item` gives, also when it gave it in spite of being cancelled
 * @throws {RangeError} If `ms` is not a number
 * @throws {TimeoutError} If the time ran out; its `cause` is the `CancelledError`
 * @throws whatever else `item` throws
 *
 * @remarks
 * **When cancelled:** the item is cancelled and waited for, as on timeout. A
 * value that came in the same turn is not lost if `item` is a task, which still has it.
 *
 * @example
 * ```ts
 * import { sleep, TimeoutError, waitFor } from "heddle";
 * import assert from "node:assert/strict";
 *
 * assert.equal(await waitFor(() => sleep(1, "in time"), 1_000), "in time");
 * await assert.rejects(waitFor(() => sleep(60_000), 5), TimeoutError);
 * ```
 */
export async function waitFor<T>(
  item: Item<T>,
  ms: number | null,
  options?: WaitOptions,
): Promise<T> {
  checkMs("waitFor", ms);
  checkItem("waitFor", item);
  const signal = options?.signal;
  if (signal !== undefined) return withSignal(signal, "waitFor", () => waitFor(item, ms));
  const past = ms !== null && ms <= 0;
  if (typeof item === "function") {
    if (!past) return timeout(ms, () => item());
    const refused = refusal(currentScope(), undefined);
    if (refused !== undefined) throw refused as Error;
    throw timeoutError(new CancelledError("the time is up"), ms);
  }
  if (item instanceof Task) {
    const task = item as Task<T>;
    return past && task.done() ? task.wait() : timeout(ms, () => task.wait());
  }
  if (!past) return timeout(ms, () => attend(item, currentScope()));
  return timeout(null, (scope) => {
    const value = attend(item, currentScope());
    // A promise does not say whether it has its value; after this microtask we know.
    queueMicrotask(() => {
      if (scope.active) scope.reschedule(0);
    });
    return value;
  });
}
