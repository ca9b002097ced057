// Waits that need nobody else: for a time, for a turn, for ever.
import { nextTurn, turnMs } from "./clock.ts";
import { currentClock, currentScope } from "./scope.ts";
import { refusal, suspend, type Wait, type WaitKind, type WaitOptions } from "./wait.ts";

const sleepWait: WaitKind = {
  name: "sleep",
  withdraw(wait) {
    (wait.item as () => void)();
  },
};

/**
 * Waits for `ms` milliseconds on the scope's clock, and gives `value`.
 *
 * @param ms Zero or less is a {@link checkpoint}; `Infinity` waits until it is cancelled
 * @throws {RangeError} If `ms` is not a number
 *
 * @remarks
 * **When cancelled:** its timer is called off; nothing is left behind.
 *
 * @example
 * ```ts
 * import { sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * assert.equal(await sleep(1, "slept"), "slept");
 * ```
 */
export function sleep(ms: number): Promise<void>;
export function sleep<T>(ms: number, value: T, options?: WaitOptions): Promise<T>;
export function sleep(ms: number, value?: unknown, options?: WaitOptions): Promise<unknown> {
  if (typeof ms !== "number" || Number.isNaN(ms)) {
    const error = new RangeError(
      `Cannot sleep: ms must be a number, current value is ${String(ms)}`,
    );
    return Promise.reject(error);
  }
  if (ms <= 0) return checkpoint(options).then(() => value);
  const scope = currentScope();
  const refused = refusal(scope, options);
  if (refused !== undefined) return Promise.reject(refused as Error);
  const clock = scope?.clock ?? currentClock();
  const wait = suspend<unknown>(sleepWait, clock, scope, options);
  wait.item = clock.wakeAfter(ms, () => wait.resolve(value));
  return wait.promise;
}

// How long a turn of the event loop may be kept by checkpoints alone.
const longTurnMs = 5;

const checkpointWait: WaitKind = { name: "checkpoint", withdraw() {} };

/**
 * Lets others run, and a waiting cancellation in: one round of microtasks, or a
 * turn of the event loop when this one has lasted for 5 ms.
 *
 * @remarks
 * **When cancelled:** nothing is left behind.
 */
export function checkpoint(options?: WaitOptions): Promise<void> {
  const scope = currentScope();
  const refused = refusal(scope, options);
  if (refused !== undefined) return Promise.reject(refused as Error);
  const wait = suspend<void>(checkpointWait, checkpointWait, scope, options);
  const wake = (): void => wait.resolve(undefined);
  if (turnMs() < longTurnMs) queueMicrotask(wake);
  else nextTurn(wake);
  return wait.promise;
}

const foreverWait: WaitKind = { name: "sleepForever", withdraw() {}, deliberate: true };

/**
 * Waits until it is cancelled: the way to say "until somebody stops me". A task
 * that waits so is never reported as lost.
 */
export function sleepForever(options?: WaitOptions): Promise<never> {
  const scope = currentScope();
  const refused = refusal(scope, options);
  if (refused !== undefined) return Promise.reject(refused as Error);
  const wait: Wait<never> = suspend<never>(foreverWait, foreverWait, scope, options);
  return wait.promise;
}

/** The time in milliseconds, on the clock of the running code. */
export function now(): number {
  return currentClock().now();
}
