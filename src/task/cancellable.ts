// Waiting for what the library did not make: a promise that cannot be
// interrupted, only abandoned.
import type { CancelledError } from "./errors.ts";
import { currentScope, type Scope } from "./scope.ts";
import { withSignal } from "./stretch.ts";
import { isThenable, Task } from "./task.ts";
import {
  cancelWait,
  refusal,
  suspend,
  type Wait,
  waitBehind,
  type WaitKind,
  type WaitOptions,
} from "./wait.ts";

// Those who wait for one promise. Each promise gets one reaction, not one a
// wait: a reaction cannot be taken off, and a loop that waits for a long-lived
// promise again and again would leave one behind each time.
const audiences = new WeakMap<PromiseLike<unknown>, Set<Wait<never>>>();

function listen(wait: Wait<never>, promise: PromiseLike<unknown>): void {
  const audience = audiences.get(promise);
  if (audience !== undefined) {
    audience.add(wait);
    return;
  }
  const waits = new Set([wait]);
  audiences.set(promise, waits);
  const settle = (end: (wait: Wait<never>) => void): void => {
    audiences.delete(promise);
    for (const each of waits) end(each);
  };
  promise.then(
    (value) => settle((each) => each.resolve(value as never)),
    (error: unknown) => settle((each) => each.reject(error)),
  );
}

interface Foreign {
  readonly promise: PromiseLike<unknown>;
  readonly controller: AbortController | undefined;
}

const foreignWait: WaitKind = {
  name: "cancellable",
  withdraw(wait, error) {
    const { promise, controller } = wait.item as Foreign;
    audiences.get(promise)?.delete(wait);
    controller?.abort(error);
  },
};

// Behind the promise stands a wait of the library: it is that one that ends,
// and if it has been served already the request came too late for it.
const behindWait: WaitKind = {
  name: "cancellable",
  withdraw(wait, error) {
    (wait.target as Wait<never>).abandon(error);
  },
  pass(wait, error: CancelledError) {
    return cancelWait(wait.target as Wait<never>, error);
  },
};

/** Waits for a promise that may be anybody's; the caller has asked `refusal`. @internal */
export function attend<T>(
  promise: PromiseLike<T>,
  scope: Scope | undefined,
  options?: WaitOptions,
  controller?: AbortController,
): Promise<T> {
  if (promise instanceof Task) return promise.wait() as Promise<T>;
  const behind = waitBehind(promise);
  if (behind?.open === true) {
    const signal = options?.signal;
    if (signal !== undefined)
      return withSignal(signal, "cancellable", () => attend(promise, currentScope()));
    const wait = suspend<T>(behindWait, behind, scope);
    promise.then(
      (value) => wait.resolve(value),
      (error: unknown) => wait.reject(error),
    );
    return wait.promise;
  }
  const wait = suspend<T>(foreignWait, promise, scope, options);
  wait.item = { promise, controller } satisfies Foreign;
  listen(wait as unknown as Wait<never>, promise);
  return wait.promise;
}

/**
 * Awaits a promise that is not the library's, so that a cancellation ends the
 * wait at once.
 *
 * @param source The promise, or a function that makes it; the function is given
 * a signal that is aborted when the wait ends without it
 * @returns what the promise gives
 * @throws whatever the promise rejects with
 *
 * @remarks
 * **When cancelled:** the promise is abandoned, not stopped; what it gives is
 * lost, and a rejection that comes later is nobody's. With a function the
 * signal is aborted, the `CancelledError` being its reason.
 *
 * @example A request that is aborted with the task that waits for it
 * ```ts
 * import { cancellable, timeout, TimeoutError } from "heddle";
 * import assert from "node:assert/strict";
 *
 * let aborted = false;
 * const answer = timeout(5, () =>
 *   cancellable((signal) => {
 *     signal.addEventListener("abort", () => (aborted = true));
 *     return new Promise(() => {});
 *   }),
 * );
 * await assert.rejects(answer, TimeoutError);
 * assert.equal(aborted, true);
 * ```
 */
export function cancellable<T>(
  source: PromiseLike<T> | ((signal: AbortSignal) => T | PromiseLike<T>),
  options?: WaitOptions,
): Promise<T> {
  const scope = currentScope();
  if (typeof source === "function") {
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    const controller = new AbortController();
    try {
      const result = source(controller.signal);
      if (!isThenable(result)) return Promise.resolve(result);
      return attend(result as PromiseLike<T>, scope, options, controller);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }
  if (!isThenable(source)) {
    return Promise.reject(
      new TypeError(
        `Cannot wait for ${typeof source}: cancellable() takes a promise or a function (signal) => promise`,
      ),
    );
  }
  const refused = refusal(scope, options);
  if (refused !== undefined) {
    // Nobody will look at it any more.
    if (!(source instanceof Task)) Promise.resolve(source).catch(() => {});
    return Promise.reject(refused as Error);
  }
  return attend(source as PromiseLike<T>, scope, options);
}
