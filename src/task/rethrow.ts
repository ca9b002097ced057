import { cancellationOf } from "./errors.ts";
import { currentScope } from "./scope.ts";
import { askedAround } from "./stretch.ts";

/**
 * Throws on what is a cancellation, and returns otherwise: the first line of a
 * broad `catch`.
 *
 * A cancellation is a `CancelledError`, a foreign error that has one as its
 * `cause`, and an `AbortError` thrown after a cancellation was asked for; the
 * `CancelledError` itself is thrown. A `TimeoutError` is none.
 *
 * @throws {CancelledError} If `error` is a cancellation
 *
 * @example
 * ```ts
 * import { CancelledError, rethrowIfCancelled } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const reported: unknown[] = [];
 * const report = (error: unknown): void => {
 *   rethrowIfCancelled(error);
 *   reported.push(error);
 * };
 * report("a failure of mine");
 * assert.deepEqual(reported, ["a failure of mine"]);
 * assert.throws(() => report(new CancelledError()), CancelledError);
 * ```
 */
export function rethrowIfCancelled(error: unknown): void {
  const cancellation = cancellationOf(error, askedAround(currentScope()));
  if (cancellation !== undefined) throw cancellation;
}
