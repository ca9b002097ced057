// The errors that somebody will catch. Each has a code (docs/errors.md has a
// paragraph on each) and carries what the catcher needs.
import type { Task } from "./task.ts";

/**
 * Thrown into a task where it waits, when its cancellation was asked for.
 *
 * It is a request: it may be caught for cleaning up, and even be denied by not
 * throwing it on. A broad `catch` begins with {@link rethrowIfCancelled}.
 *
 * @example Clean up, then let it through
 * ```ts
 * import { CancelledError, createTask, sleepForever } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const task = createTask(async () => {
 *   await sleepForever();
 * });
 * await Promise.resolve();
 * task.cancel("no longer needed");
 * await assert.rejects(async () => task, CancelledError);
 * assert.equal(task.cancelled(), true);
 * ```
 */
export class CancelledError extends Error {
  override readonly name = "CancelledError";
  readonly code = "HEDDLE_CANCELLED";
  /** What `cancel(reason)` was given */
  readonly reason: unknown;
  /** Whose cancellation it is; the task that was asked to stop */
  readonly task: Task<unknown> | undefined;

  constructor(reason?: unknown, task?: Task<unknown>) {
    super(
      reason === undefined || reason === null ? "Cancelled" : `Cancelled: ${reasonText(reason)}`,
    );
    this.reason = reason;
    // Not enumerable: an error that is printed need not print a task with it.
    Object.defineProperty(this, "task", { value: task, enumerable: false });
  }
}

function reasonText(reason: unknown): string {
  if (reason instanceof Error) return reason.message;
  if (typeof reason === "object" && reason !== null) return "(an object)";
  return String(reason);
}

/** The time of a `timeout` or `waitFor` ran out; its `cause` is the `CancelledError` that the work saw. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
  readonly code = "HEDDLE_TIMEOUT";
}

/** Something was asked of a task or a scope that its state does not allow. */
export class InvalidStateError extends Error {
  override readonly name = "InvalidStateError";
  readonly code = "HEDDLE_INVALID_STATE";
}

/** What failed in a task group: `errors` holds each failure, and may hold further groups. */
export class TaskGroupError extends AggregateError {
  override readonly name = "TaskGroupError";
  readonly code = "HEDDLE_TASK_GROUP";
}

/**
 * An error that should end the program: a task group throws it as it is
 * instead of collecting it, and reports whatever else had failed.
 */
export class FatalError extends Error {
  override readonly name: string = "FatalError";
  readonly code: string = "HEDDLE_FATAL";
}

/** Nothing could ever have resumed the task: what strict mode makes of a lost task. */
export class TaskLostError extends Error {
  override readonly name = "TaskLostError";
  readonly code = "HEDDLE_TASK_LOST";
}

const ours = [TimeoutError, InvalidStateError, TaskGroupError, FatalError, TaskLostError];

/**
 * The cancellation that `error` is, if it is one: a `CancelledError`; a foreign
 * error that has one as its cause; an `AbortError` thrown after a cancellation
 * was asked for (`asked`).
 *
 * @internal
 */
export function cancellationOf(
  error: unknown,
  asked: CancelledError | undefined,
): CancelledError | undefined {
  try {
    if (error instanceof CancelledError) return error;
    if (!(error instanceof Error) || ours.some((type) => error instanceof type)) return undefined;
    if (error.cause instanceof CancelledError) return error.cause;
    return error.name === "AbortError" ? asked : undefined;
  } catch {
    // Anything may be thrown, also what throws when it is looked at.
    return undefined;
  }
}
