// Waiting for something without passing one's own cancellation on to it.
import { checkItem, type Item, taskFor } from "./item.ts";
import { currentScope } from "./scope.ts";
import type { Task } from "./task.ts";
import {
  detach,
  refusal,
  suspend,
  type Wait,
  waitBehind,
  type WaitKind,
  type WaitOptions,
} from "./wait.ts";

const shieldWait: WaitKind = {
  name: "shield",
  withdraw(wait) {
    (wait.target as Task<unknown>).forget(wait);
  },
  awaited: (wait) => [wait.target as Task<unknown>],
};

/**
 * Waits for `item`, which goes on when the wait is cancelled.
 *
 * @param item A task, a promise, or an async function that is run as a task
 * @returns what `item` gives
 * @throws whatever `item` throws, also its own cancellation
 *
 * @remarks
 * **When cancelled:** the wait ends at once and `item` goes on, unwatched: a
 * failure of it is an unhandled rejection then. To have both, keep the task and
 * await it later.
 *
 * @example What has begun is finished
 * ```ts
 * import { createTask, shield, sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const saving = createTask(() => sleep(5, "saved"));
 * const caller = createTask(() => shield(saving));
 * await sleep(1);
 * caller.cancel();
 * await caller.then(undefined, () => {});
 * assert.equal(caller.cancelled(), true);
 * assert.equal(await saving, "saved");
 * ```
 */
export function shield<T>(item: Item<T>, options?: WaitOptions): Promise<T> {
  try {
    checkItem("shield", item);
  } catch (error) {
    return Promise.reject(error as Error);
  }
  // A wait of the library began in this task and would end with it.
  const behind = waitBehind(item);
  if (behind !== undefined) detach(behind);
  // Before a refusal: what is shielded runs also when a cancellation is outstanding.
  const task = taskFor(item);
  const scope = currentScope();
  const refused = refusal(scope, options);
  if (refused !== undefined) return Promise.reject(refused as Error);
  if (task.done()) return task.wait();
  const wait = suspend<T>(shieldWait, task, scope, options);
  task.serve(wait as unknown as Wait<never>);
  return wait.promise;
}
