// Every task that is not done, in an intrusive list: two writes a task, and
// nothing to look up when it ends.
import type { Task } from "./task.ts";

let newest: Task<unknown> | undefined;

/** Whoever has tasks that are made only when somebody looks: a router, for its calls. */
interface Shower {
  showTasks(): void;
}
const showers = new Set<WeakRef<Shower>>();

/** @internal */
export function showOnDemand(shower: Shower): void {
  showers.add(new WeakRef(shower));
}

/** @internal */
export function enlist(task: Task<unknown>): void {
  task.older = newest;
  if (newest !== undefined) newest.newer = task;
  newest = task;
}

/** @internal */
export function delist(task: Task<unknown>): void {
  if (task.newer !== undefined) task.newer.older = task.older;
  else if (newest === task) newest = task.older;
  if (task.older !== undefined) task.older.newer = task.newer;
  task.older = task.newer = undefined;
}

/**
 * Every task that is not done, oldest first.
 *
 * @example
 * ```ts
 * import { allTasks, createTask, sleepForever } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const task = createTask(() => sleepForever());
 * assert.deepEqual(allTasks(), [task]);
 * task.cancel();
 * await task.then(undefined, () => {});
 * assert.deepEqual(allTasks(), []);
 * ```
 */
export function allTasks(): Task<unknown>[] {
  for (const weak of showers) {
    const shower = weak.deref();
    if (shower === undefined) showers.delete(weak);
    else shower.showTasks();
  }
  const tasks: Task<unknown>[] = [];
  for (let task = newest; task !== undefined; task = task.older) tasks.push(task);
  return tasks.reverse();
}
