// Waiting until some of several tasks have ended, whatever their outcome.
import { kindOf } from "./item.ts";
import { currentClock, currentScope } from "./scope.ts";
import { Task, type TaskWatcher } from "./task.ts";
import { refusal, suspend, type Wait, type WaitKind, type WaitOptions } from "./wait.ts";

/** When `wait` returns: at the end of all, of the first, or at the first that fails. */
export type ReturnWhen = "all" | "first" | "firstError";

/** Options of `wait`. */
export interface WaitTasksOptions extends WaitOptions {
  /** How long to wait at most, in milliseconds; nothing is thrown or cancelled when it is over. @default Infinity */
  readonly timeoutMs?: number | undefined;
  /** What to wait for; a cancelled task is no error. @default "all" */
  readonly returnWhen?: ReturnWhen | undefined;
}

class Watch implements TaskWatcher {
  readonly tasks: ReadonlySet<Task<unknown>>;
  readonly #returnWhen: ReturnWhen;
  #left: number;
  wait: Wait<void> | undefined = undefined;
  callOff: (() => void) | undefined = undefined;

  constructor(tasks: ReadonlySet<Task<unknown>>, returnWhen: ReturnWhen) {
    this.tasks = tasks;
    this.#returnWhen = returnWhen;
    this.#left = tasks.size;
  }

  /** Whether what was waited for had come before the wait began. */
  already(): boolean {
    let over = false;
    for (const task of this.tasks) if (task.done() && this.#counts(task)) over = true;
    return over;
  }

  taskEnded(task: Task<unknown>): void {
    if (!this.#counts(task)) return;
    this.end();
    this.wait?.resolve();
  }

  #counts(task: Task<unknown>): boolean {
    if (--this.#left === 0 || this.#returnWhen === "first") return true;
    return this.#returnWhen === "firstError" && task.failedOrCancelled && !task.cancelled();
  }

  begin(): void {
    for (const task of this.tasks) if (!task.done()) task.watch(this);
  }

  /** Takes itself off every task: a long-lived one may be waited for again and again. */
  end(): void {
    this.callOff?.();
    for (const task of this.tasks) task.unwatch(this);
  }
}

const tasksWait: WaitKind = {
  name: "wait",
  withdraw(wait) {
    (wait.target as Watch).end();
  },
  awaited: (wait) => [...(wait.target as Watch).tasks].filter((task) => !task.done()),
};

/**
 * Waits until all of `tasks` have ended, or the first has, and says which have.
 * Their errors are not thrown.
 *
 * @param tasks At least one; duplicates collapse
 * @returns the tasks that have ended and those that have not
 * @throws {TypeError} If `tasks` is not a list of tasks
 * @throws {RangeError} If it is empty, or an option is out of range
 *
 * @remarks
 * **When cancelled:** the tasks go on; nothing of the wait is left on them.
 *
 * @example
 * ```ts
 * import { createTask, sleep, sleepForever, wait } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const quick = createTask(() => sleep(1, "quick"));
 * const endless = createTask(() => sleepForever());
 * const { done, pending } = await wait([quick, endless], { returnWhen: "first" });
 * assert.deepEqual([...done], [quick]);
 * assert.deepEqual([...pending], [endless]);
 * endless.cancel();
 * ```
 */
export async function wait<K extends Task<unknown>>(
  tasks: Iterable<K>,
  options: WaitTasksOptions = {},
): Promise<{ done: Set<K>; pending: Set<K> }> {
  const { timeoutMs = Infinity, returnWhen = "all" } = options;
  const all = checkedTasks(tasks);
  if (!["all", "first", "firstError"].includes(returnWhen)) {
    throw new RangeError(
      `Cannot wait: returnWhen must be "all", "first" or "firstError", current value is ${String(returnWhen)}`,
    );
  }
  if (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs)) {
    throw new RangeError(
      `Cannot wait: timeoutMs must be a number, current value is ${String(timeoutMs)}`,
    );
  }
  const scope = currentScope();
  const refused = refusal(scope, options);
  if (refused !== undefined) throw refused as Error;
  const watch = new Watch(all, returnWhen);
  if (!watch.already()) {
    const waiting = suspend<void>(tasksWait, watch, scope, options);
    watch.wait = waiting;
    watch.begin();
    if (timeoutMs < Infinity) {
      watch.callOff = currentClock().wakeAfter(Math.max(0, timeoutMs), () => {
        watch.end();
        waiting.resolve();
      });
    }
    await waiting.promise;
  }
  // Only now: more of them may have ended than the one that woke us.
  const done = new Set<K>();
  const pending = new Set<K>();
  for (const task of all) {
    if (task.done()) task.markRead();
    (task.done() ? done : pending).add(task);
  }
  return { done, pending };
}

function checkedTasks<K>(tasks: Iterable<K>): Set<K & Task<unknown>> {
  if (typeof tasks !== "object" || tasks === null || !(Symbol.iterator in tasks)) {
    throw new TypeError(`Cannot wait: pass a list of tasks, not ${kindOf(tasks)}`);
  }
  const all = new Set<K & Task<unknown>>();
  for (const task of tasks) {
    if (!(task instanceof Task)) {
      const hint = typeof task === "function" ? " (make it one with createTask)" : "";
      throw new TypeError(`Cannot wait: every item must be a task, not ${kindOf(task)}${hint}`);
    }
    all.add(task as K & Task<unknown>);
  }
  if (all.size === 0) throw new RangeError("Cannot wait: the list of tasks is empty");
  return all;
}
