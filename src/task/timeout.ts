// A deadline for a stretch of a task.
import type { Clock } from "./clock.ts";
import { CancelledError, cancellationOf, InvalidStateError, TimeoutError } from "./errors.ts";
import type { Scope } from "./scope.ts";
import { inTask, Stretch } from "./stretch.ts";
import type { Task } from "./task.ts";
import { refusal } from "./wait.ts";

type TimeoutState = "active" | "expiring" | "expired" | "finished";

/**
 * What the body of a `timeout` is given: its deadline can be read and moved.
 */
export class TimeoutScope {
  readonly #clock: Clock;
  readonly #outer: Scope;
  readonly #stretch: Stretch;
  #state: TimeoutState = "active";
  #when: number | null = null;
  /** From the last time that the deadline was set; for people */
  #allowedMs = 0;
  #callOff: (() => void) | undefined = undefined;

  /** @internal */
  constructor(task: Task<unknown>, outer: Scope) {
    this.#clock = outer.clock;
    this.#outer = outer;
    this.#stretch = new Stretch(task, outer);
  }

  /** The deadline in milliseconds, on the scope's clock (`now()`); `null` if there is none. */
  get when(): number | null {
    return this.#when;
  }

  /** Whether the deadline has cancelled the body, or had passed when the body was cancelled. */
  get expired(): boolean {
    return this.#state === "expired" || this.#state === "expiring";
  }

  /** @internal */
  get active(): boolean {
    return this.#state === "active";
  }

  /**
   * Moves the deadline.
   *
   * @param ms From now on, in milliseconds; `null` or `Infinity` takes it away;
   * zero or less expires at the next wait
   * @throws {RangeError} If `ms` is not a number
   * @throws {InvalidStateError} If the body has ended or the time was up already
   */
  reschedule(ms: number | null): void {
    checkMs("reschedule", ms);
    if (this.#state !== "active") {
      throw new InvalidStateError(`Cannot reschedule: ${this.toString()} is no longer active`);
    }
    this.#arm(ms === null ? null : this.#clock.now() + ms);
  }

  /** `<timeout active when=123>` */
  toString(): string {
    return `<timeout ${this.#state} when=${this.#when === null ? "none" : this.#when}>`;
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value: this.prototype.toString,
    });
  }

  /** @internal */
  async run<T>(when: number | null, work: (scope: TimeoutScope) => T | PromiseLike<T>): Promise<T> {
    this.#arm(when);
    let value: T;
    try {
      value = await this.#stretch.enter(work, this);
    } catch (error) {
      this.#leave();
      throw this.#instead(error);
    }
    this.#leave();
    // What was asked for in the turn of the hand-over is thrown here, at the edge.
    const refused = refusal(this.#outer, undefined);
    if (refused !== undefined) throw refused as Error;
    return value;
  }

  #arm(when: number | null): void {
    this.#callOff?.();
    this.#callOff = undefined;
    this.#when = when === Infinity ? null : when;
    if (this.#when === null) return;
    const delayMs = this.#when - this.#clock.now();
    this.#allowedMs = delayMs;
    // Not by a timer: the first wait may be over before one could fire.
    if (delayMs <= 0) this.#expire();
    else this.#callOff = this.#clock.wakeAfter(delayMs, this.#expire);
  }

  readonly #expire = (): void => {
    this.#callOff = undefined;
    if (this.#state !== "active") return;
    this.#state = "expiring";
    this.#stretch.ask(new CancelledError("the time is up", this.#stretch.task));
  };

  #leave(): void {
    this.#callOff?.();
    this.#callOff = undefined;
    this.#state = this.#state === "expiring" ? "expired" : "finished";
    this.#stretch.leave();
  }

  /** What is thrown in place of what the body threw. */
  #instead(error: unknown): unknown {
    const stretch = this.#stretch;
    const cancellation = cancellationOf(error, stretch.asked);
    if (cancellation === undefined) {
      if (this.#state === "expired") {
        noteSuppressed(error, stretch.asked, this.#allowedMs);
      }
      return error;
    }
    // Cancelled by a scope around it with the same deadline, whose timer came first.
    if (this.#when !== null && this.#clock.now() >= this.#when) this.#state = "expired";
    if (stretch.askedFromOutside()) {
      const outside = stretch.outsideError(cancellation);
      return outside === cancellation ? error : outside;
    }
    return this.#state === "expired" ? timeoutError(cancellation, this.#allowedMs) : error;
  }
}

/** @internal */
export function timeoutError(cancellation: CancelledError, ms: number): TimeoutError {
  const time =
    ms > 0 ? `${Math.round(ms * 1000) / 1000} ms were allowed` : "the time was up already";
  return new TimeoutError(`Cannot finish in time: ${time}`, { cause: cancellation });
}

/** An error of the clean-up hides that the time was up: it says so itself. */
function noteSuppressed(
  error: unknown,
  cancellation: CancelledError | undefined,
  ms: number,
): void {
  if (cancellation === undefined || !(error instanceof Error)) return;
  if (!Object.isExtensible(error) || "suppressed" in error) return;
  Object.defineProperty(error, "suppressed", {
    value: timeoutError(cancellation, ms),
    configurable: true,
    writable: true,
  });
}

/** @internal */
export function checkMs(what: string, ms: number | null): void {
  if (ms === null || (typeof ms === "number" && !Number.isNaN(ms))) return;
  throw new RangeError(
    `Cannot ${what}: the time must be a number of milliseconds or null, current value is ${String(ms)}`,
  );
}

/** @internal */
export function checkTimeout(what: string, ms: number | null, work: unknown): void {
  checkMs(what, ms);
  if (typeof work === "function") return;
  throw new TypeError(
    `Cannot ${what} of ${typeof work}: pass the function itself, as in ${what}(ms, async (scope) => …)`,
  );
}

/**
 * Runs `work`, and cancels it if it has not finished after `ms` milliseconds.
 *
 * @param ms The time allowed, in milliseconds; `null` or `Infinity` never cancels
 * @param work Called once, at once, with the scope; its waits are cancelled when the time is up.
 * Outside any task it runs in a new one
 * @returns what `work` returned, also when it did so in spite of being cancelled
 * @throws {RangeError} If `ms` is not a number; zero or less expires at the first wait
 * @throws {TimeoutError} If the time ran out; its `cause` is the `CancelledError`
 * that `work` saw. Whatever else `work` throws comes out unchanged; an error that its clean-up
 * threw after the time was up has the `TimeoutError` as `suppressed`.
 *
 * @remarks
 * **When cancelled:** `timeout()` waits until `work` has stopped before it
 * throws, so nothing of `work` runs on afterwards. Somebody else's cancellation
 * stays a `CancelledError`, also when the time is up at the same moment.
 *
 * @example Give a lookup two seconds
 * ```ts
 * import { timeout } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const name = await timeout(2_000, async () => "Ada");
 * assert.equal(name, "Ada");
 * ```
 *
 * @example The time starts anew with each chunk
 * ```ts
 * import { sleep, timeout, TimeoutError } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const reading = timeout(20, async (scope) => {
 *   for (const pauseMs of [1, 1, 60_000]) {
 *     await sleep(pauseMs);
 *     scope.reschedule(20);
 *   }
 * });
 * await assert.rejects(reading, TimeoutError);
 * ```
 */
export async function timeout<T>(
  ms: number | null,
  work: (scope: TimeoutScope) => T | PromiseLike<T>,
): Promise<T> {
  checkTimeout("timeout", ms, work);
  return inTask("timeout", (task, outer) => {
    const when = ms === null ? null : outer.clock.now() + ms;
    return new TimeoutScope(task, outer).run(when, work);
  });
}

/**
 * Like {@link timeout}, with the moment instead of the length of time.
 *
 * @param when On the clock of the running code, in milliseconds as `now()`
 * gives them; `null` or `Infinity` never cancels, a moment that has passed expires at the first wait
 *
 * @remarks
 * **When cancelled:** as {@link timeout}.
 *
 * @example
 * ```ts
 * import { now, sleep, timeoutAt, TimeoutError } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const deadline = now() + 5;
 * await assert.rejects(timeoutAt(deadline, () => sleep(60_000)), TimeoutError);
 * ```
 */
export async function timeoutAt<T>(
  when: number | null,
  work: (scope: TimeoutScope) => T | PromiseLike<T>,
): Promise<T> {
  checkTimeout("timeoutAt", when, work);
  return inTask("timeout", (task, outer) => new TimeoutScope(task, outer).run(when, work));
}
