// What `gather` and its like take: a task, a promise or an async function.
import { attend } from "./cancellable.ts";
import { currentScope } from "./scope.ts";
import { isThenable, launch, makeTask, Task } from "./task.ts";

/** A task, a promise, or an async function that is run as a task. */
export type Item<T> = PromiseLike<T> | (() => T | PromiseLike<T>);

/** What an {@link Item} gives. */
export type ItemResult<I> = I extends () => infer R
  ? Awaited<R>
  : I extends PromiseLike<infer T>
    ? Awaited<T>
    : never;

/** @internal */
export function checkItem(caller: string, item: unknown): void {
  if (typeof item === "function" || isThenable(item)) return;
  throw new TypeError(
    `Cannot ${caller}: an item must be a task, a promise or an async function, not ${kindOf(item)}`,
  );
}

/** @internal */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (value instanceof Task) return "a single task";
  if (isThenable(value)) return "a promise";
  return typeof value === "object" ? "an object" : `${typeof value}`;
}

/** The items as a list, each of them checked before anything has been started. @internal */
export function itemsOf(caller: string, items: unknown): Item<unknown>[] {
  if (typeof items !== "object" || items === null || !(Symbol.iterator in items)) {
    throw new TypeError(`Cannot ${caller}: pass a list of items, not ${kindOf(items)}`);
  }
  const list = [...(items as Iterable<Item<unknown>>)];
  for (const item of list) checkItem(caller, item);
  return list;
}

/** The task that an item is, or that is made for it. @internal */
export function taskFor<T>(item: Item<T>): Task<T> {
  if (item instanceof Task) return item as Task<T>;
  const work = typeof item === "function" ? item : promised;
  const task = makeTask(work as () => T | PromiseLike<T>);
  task.scope.owner?.adopt(task as Task<unknown>);
  // The function is called with nothing: what it takes is its own affair. A promise is
  // attended to at once, so that its rejection is somebody's.
  if (typeof item === "function") launch(task, () => item(), false);
  else launch(task, () => attend(item, currentScope()), true);
  return task;
}

function promised(): void {}

/** The tasks of the items, in their order; the same promise or task gives the same task. @internal */
export function tasksFor(items: readonly Item<unknown>[]): Task<unknown>[] {
  const known = new Map<unknown, Task<unknown>>();
  return items.map((item) => {
    if (typeof item === "function") return taskFor(item);
    const task = known.get(item) ?? taskFor(item);
    known.set(item, task);
    return task;
  });
}
