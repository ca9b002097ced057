// Tasks that end together: nothing of a group is left when its block is.
//
// The group is a stretch of the task that opened it, so that a child's failure
// can interrupt the body without touching what else the task does. Whether the
// way out throws the children's errors, a cancellation from outside or nothing
// at all follows asyncio (spec 172 to 202), and is decided in one place: #leave.
import {
  CancelledError,
  cancellationOf,
  FatalError,
  InvalidStateError,
  TaskGroupError,
} from "./errors.ts";
import { kindOf } from "./item.ts";
import { report } from "./report.ts";
import type { Scope } from "./scope.ts";
import { inTask, Stretch } from "./stretch.ts";
import { launch, makeTask, type Task, type TaskOptions, type Work } from "./task.ts";
import {
  refusal,
  suspend,
  takeOutstanding,
  type Wait,
  type WaitKind,
  type WaitOptions,
} from "./wait.ts";

// body: its function runs · closing: it waits for the last child · closed: the block has been left
type GroupState = "body" | "closing" | "closed";

/**
 * What the body of a `taskGroup` is given: it makes the children, and can end them all.
 */
export class TaskGroup {
  #state: GroupState = "body";
  #aborting = false;
  /** None once the block has been left: a group that is kept holds nothing */
  #stretch: Stretch | undefined;
  readonly #children = new Set<Task<unknown>>();
  #errors: unknown[] = [];
  #fatal: FatalError | undefined = undefined;
  #closing: Wait<void> | undefined = undefined;
  /** The cancellation that came out of the body, or in while it was closing */
  #cancellation: CancelledError | undefined = undefined;

  /** @internal */
  constructor(stretch: Stretch) {
    this.#stretch = stretch;
  }

  /** How many children have not ended. */
  get size(): number {
    return this.#children.size;
  }

  /**
   * Runs `work` as a child of the group.
   *
   * @throws {TypeError} If `work` is not a function
   * @throws {InvalidStateError} If the group has ended or is being cancelled; `work` is not called then
   */
  createTask<T>(work: Work<T>, options?: TaskOptions): Task<T> {
    if (this.#aborting || this.#state === "closed") {
      const how = this.#state === "closed" ? "has ended" : "is being cancelled";
      throw new InvalidStateError(`Cannot create a task: its group ${how}`);
    }
    const task = makeTask(work, options);
    task.keeper = this;
    // Before its first step: an eager child may end its own group.
    this.#children.add(task as Task<unknown>);
    launch(task, work, options?.eager === true);
    return task;
  }

  /**
   * Ends the group early: children and body are cancelled, and `taskGroup`
   * returns without an error. May be called again, and after the group's end.
   *
   * @param reason Carried by the `CancelledError`s
   */
  cancel(reason?: unknown): void {
    if (this.#aborting || this.#state === "closed") return;
    this.#aborting = true;
    for (const child of this.#children) child.cancel(reason);
    const stretch = this.#stretch;
    if (this.#state === "body") stretch?.ask(new CancelledError(reason, stretch.task));
  }

  /** `<TaskGroup body children=2>` */
  toString(): string {
    const state = this.#aborting && this.#state !== "closed" ? "cancelling" : this.#state;
    return `<TaskGroup ${state} children=${this.#children.size}>`;
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value: this.prototype.toString,
    });
  }

  /** @internal */
  get children(): Iterable<Task<unknown>> {
    return this.#children;
  }

  /** @internal */
  taskEnded(task: Task<unknown>): void {
    this.#children.delete(task);
    if (task.failedOrCancelled && !task.cancelled()) {
      this.#fail(task.outcome);
      this.cancel("another task of the group has failed");
    }
    if (this.#children.size === 0) this.#closing?.resolve();
  }

  /** @internal */
  async run<T>(
    stretch: Stretch,
    outer: Scope,
    work: (group: TaskGroup) => T | PromiseLike<T>,
    signal: AbortSignal | undefined,
  ): Promise<T | undefined> {
    const onAbort = (): void => this.cancel(signal?.reason);
    signal?.addEventListener("abort", onAbort);
    let value: T | undefined;
    const failed: unknown[] = [];
    try {
      value = await stretch.enter(work, this);
    } catch (error) {
      this.#cancellation = cancellationOf(error, stretch.asked);
      if (this.#cancellation === undefined) failed.push(error);
      this.cancel(this.#cancellation?.reason ?? "the body of the group has failed");
    }
    this.#state = "closing";
    await this.#childrenEnded(outer);
    // The body's own error stands after those of the children.
    for (const error of failed) this.#fail(error);
    signal?.removeEventListener("abort", onAbort);
    this.#leave(stretch);
    const refused = refusal(outer, signal === undefined ? undefined : { signal });
    if (refused !== undefined) throw refused as Error;
    return value;
  }

  /** A cancellation while it waits for its children: they are cancelled, and it goes on waiting. @internal */
  interrupt(error: CancelledError): boolean {
    this.#cancellation = error;
    this.cancel(error.reason);
    return true;
  }

  #fail(error: unknown): void {
    if (error instanceof FatalError && this.#fatal === undefined) this.#fatal = error;
    else this.#errors.push(error);
  }

  async #childrenEnded(outer: Scope): Promise<void> {
    if (this.#children.size === 0) return;
    const wait = suspend<void>(groupWait, this, outer);
    this.#closing = wait;
    // Not thrown here, which would leave the children behind.
    const outstanding = takeOutstanding(outer);
    if (outstanding !== undefined) this.interrupt(outstanding);
    await wait.promise;
    this.#closing = undefined;
  }

  /** The one place that decides what is thrown at the end of the block. */
  #leave(stretch: Stretch): void {
    const errors = this.#errors;
    const fatal = this.#fatal;
    const cancellation = this.#cancellation;
    this.#state = "closed";
    this.#errors = [];
    this.#stretch = this.#fatal = this.#cancellation = undefined;

    stretch.leave();
    if (fatal !== undefined || errors.length > 0) {
      // A cancellation from outside is not lost by it: the next wait throws it again.
      if (cancellation !== undefined) stretch.repeatOutside();
      if (fatal === undefined) throw new TaskGroupError(errors, groupText(errors));
      for (const error of errors)
        report("A task group that was left by a FatalError had failed", error);
      throw fatal;
    }
    if (cancellation === undefined) return;
    if (stretch.askedFromOutside()) throw stretch.outsideError(cancellation);
    // Its own request has done its work; one that nobody made here is somebody else's.
    if (stretch.asked === undefined) throw cancellation;
  }
}

function groupText(errors: readonly unknown[]): string {
  const first = errors[0];
  const text = first instanceof Error ? `${first.name}: ${first.message}` : String(first);
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  return `Cannot finish the group: ${text}${more}`;
}

const groupWait: WaitKind = {
  name: "taskGroup",
  withdraw() {},
  pass: (wait, error) => (wait.target as TaskGroup).interrupt(error),
  awaited: (wait) => (wait.target as TaskGroup).children,
};

/**
 * Runs `work` with a group to make tasks in, and waits for all of them: when it
 * returns or throws, nothing of the group is left.
 *
 * The first failure, of a child or of `work`, cancels all the rest. A child
 * that is cancelled alone is no failure.
 *
 * @param work Called at once. Outside any task it runs in a new one
 * @returns what `work` returned; `undefined` if `group.cancel()` interrupted it
 * @throws {TaskGroupError} If anything failed, be it one error; `errors` are those of the
 * children, then that of `work`
 * @throws {FatalError} If one was thrown: as it is; what else had failed is reported as a warning
 *
 * @remarks
 * **When cancelled:** `work` and the children are cancelled and waited for, then
 * the `CancelledError` is thrown; if one of them fails then, a `TaskGroupError` is,
 * and the cancellation at the task's next wait. The abort of `signal` does the
 * same as `group.cancel()`, and then throws the signal's reason.
 *
 * @example
 * ```ts
 * import { sleep, taskGroup, TaskGroupError } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const sum = await taskGroup(async (group) => {
 *   const two = group.createTask(() => sleep(1, 2));
 *   const three = group.createTask(() => sleep(1, 3));
 *   return (await two) + (await three);
 * });
 * assert.equal(sum, 5);
 *
 * const failing = taskGroup(async (group) => {
 *   group.createTask(() => sleep(60_000));
 *   group.createTask(() => Promise.reject(new Error("no such user")));
 * });
 * await assert.rejects(failing, TaskGroupError);
 * ```
 */
export async function taskGroup<T>(
  work: (group: TaskGroup) => T | PromiseLike<T>,
  options?: WaitOptions,
): Promise<T | undefined> {
  if (typeof work !== "function") {
    throw new TypeError(
      `Cannot open a group on ${kindOf(work)}: pass the function itself, as in taskGroup(async (group) => …)`,
    );
  }
  const signal = options?.signal;
  if (signal?.aborted === true) throw signal.reason;
  return inTask("taskGroup", (task, outer) => {
    const stretch = new Stretch(task, outer);
    return new TaskGroup(stretch).run(stretch, outer, work, signal);
  });
}
