// So many at once, and no more.
import { InvalidStateError } from "../task/errors.ts";
import { currentScope } from "../task/scope.ts";
import { refusal, suspend, type WaitKind, type WaitOptions } from "../task/wait.ts";
import { type Guard, whileHeld } from "./guard.ts";
import { WaitLine } from "./wait-line.ts";

// Set inside the class, which alone can see the line.
let semaphoreWait: WaitKind;

/**
 * Holds a number of permits; who comes when none is free waits in line.
 *
 * @example At most two at once
 * ```ts
 * import { Semaphore, sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const semaphore = new Semaphore(2);
 * let running = 0;
 * let most = 0;
 * const call = () =>
 *   semaphore.withPermit(async () => {
 *     most = Math.max(most, ++running);
 *     await sleep(1);
 *     running--;
 *   });
 * await Promise.all([call(), call(), call()]);
 * assert.equal(most, 2);
 * ```
 */
export class Semaphore {
  /** The permits that are free; none while anybody waits. */
  #available: number;
  readonly #line: WaitLine = new WaitLine();

  /**
   * @param permits How many there are at first; zero is allowed and `Infinity` is too
   * @throws {RangeError} If `permits` is neither a whole number >= 0 nor `Infinity`
   */
  constructor(permits = 1) {
    if (!((Number.isInteger(permits) && permits >= 0) || permits === Infinity)) {
      throw new RangeError(
        `Cannot make a semaphore: permits must be a whole number >= 0, current value is ${String(permits)}`,
      );
    }
    this.#available = permits;
  }

  /** How many permits are free. */
  get available(): number {
    return this.#available;
  }

  /** Whether `acquire()` would have to wait. */
  locked(): boolean {
    return this.#available === 0;
  }

  /**
   * Waits until a permit is free, and takes it.
   *
   * @returns a guard whose `release()` gives the permit back, once
   * @throws {CancelledError} If the task is cancelled while it waits, or was before
   * @throws the reason of `signal`, if that is aborted
   *
   * @remarks
   * **When cancelled:** it leaves the line and the next one moves up. A permit
   * that was already handed over is held in spite of the cancellation, which
   * is thrown at the task's next wait.
   */
  acquire(options?: WaitOptions): Promise<Guard> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#available > 0) return Promise.resolve(this.#take());
    const wait = suspend<Guard>(semaphoreWait, this, scope, options);
    this.#line.push(wait);
    return wait.promise;
  }

  /**
   * Runs `work` with a permit, and gives it back however `work` ends.
   *
   * @param work Called once, as soon as there is a permit; never before `withPermit` has returned
   * @returns what `work` returned
   * @throws {CancelledError} If the task is cancelled while it waits for a permit, or was before
   * @throws the reason of `signal`, if that is aborted before there is a permit
   *
   * @remarks
   * **When cancelled:** while it waits it leaves the line, and `work` does not
   * run. Later the cancellation is `work`'s, and the permit is given back when
   * `work` has ended.
   */
  withPermit<R>(work: () => R | PromiseLike<R>, options?: WaitOptions): Promise<R> {
    // Not at once, as a lock may: of two permits one may just have been handed
    // over, and whoever waited for that would then start after a newcomer.
    return this.acquire(options).then((permit) => whileHeld(permit, work));
  }

  /**
   * Adds a permit, or hands it over to the first in line. Whoever has a guard
   * releases that instead: both would give back two.
   */
  release(): void {
    const next = this.#line.shift<Guard>();
    if (next === undefined) this.#available++;
    else next.resolve(new Permit(this));
  }

  /** `<Semaphore available=2>`, `<Semaphore locked waiting=1>` */
  toString(): string {
    const waiting = this.#line.length === 0 ? "" : ` waiting=${this.#line.length}`;
    const state = this.#available === 0 ? "locked" : `available=${this.#available}`;
    return `<${this.constructor.name} ${state}${waiting}>`;
  }

  #take(): Permit {
    this.#available--;
    return new Permit(this);
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value: this.prototype.toString,
    });
    semaphoreWait = {
      name: "Semaphore.acquire",
      withdraw: (wait) => (wait.target as Semaphore).#line.remove(wait),
    };
  }
}

/** A semaphore that refuses to hold more permits than it had at first: a `release()` too many is an error. */
export class BoundedSemaphore extends Semaphore {
  readonly #bound: number;

  constructor(permits = 1) {
    super(permits);
    this.#bound = permits;
  }

  /**
   * Adds a permit, or hands it over to the first in line.
   *
   * @throws {InvalidStateError} If none of its permits is taken
   */
  override release(): void {
    if (this.available >= this.#bound && this.#bound !== Infinity) {
      throw new InvalidStateError(
        `Cannot release the semaphore: none of its permits (${this.#bound}) is taken`,
      );
    }
    super.release();
  }
}

class Permit implements Guard {
  #semaphore: Semaphore | undefined;

  constructor(semaphore: Semaphore) {
    this.#semaphore = semaphore;
  }

  release(): void {
    const semaphore = this.#semaphore;
    if (semaphore === undefined) return;
    this.#semaphore = undefined;
    semaphore.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
