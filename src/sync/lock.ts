// Mutual exclusion between the waits of tasks.
import { InvalidStateError } from "../task/errors.ts";
import { currentScope, type Scope } from "../task/scope.ts";
import { refusal, suspend, type Wait, type WaitKind, type WaitOptions } from "../task/wait.ts";
import { type Guard, whileHeld } from "./guard.ts";
import { WaitLine } from "./wait-line.ts";

/** A wait for something that somebody holds. @internal */
export interface HeldWaitKind extends WaitKind {
  /** The scope in which it was taken; for whoever looks for a circle of waits */
  holder(wait: Wait<never>): Scope | undefined;
}

// Set inside the class, which alone can see the line and the holder.
let lockWait: HeldWaitKind;
let releaseBy: (lock: Lock, guard: LockGuard) => void;

/**
 * One holder at a time; who comes while it is held waits in line.
 *
 * Not reentrant: a task that acquires it twice waits for itself. It belongs to
 * nobody, so any task may release it.
 *
 * @example Two steps that nothing comes between
 * ```ts
 * import { Lock, sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const lock = new Lock();
 * let balance = 100;
 * const withdraw = (amount: number) =>
 *   lock.withLock(async () => {
 *     const read = balance;
 *     await sleep(1);
 *     balance = read - amount;
 *   });
 * await Promise.all([withdraw(10), withdraw(20)]);
 * assert.equal(balance, 70);
 * ```
 *
 * @example With a guard, where `using` does not parse
 * ```ts
 * import { Lock } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const lock = new Lock();
 * const guard = await lock.acquire();
 * try {
 *   assert.equal(lock.locked(), true);
 * } finally {
 *   guard.release();
 * }
 * assert.equal(lock.locked(), false);
 * ```
 */
export class Lock {
  /** The guard of whoever holds it. Held exactly as long as there is one; a line exists only while it is held. */
  #held: LockGuard | undefined = undefined;
  readonly #line: WaitLine = new WaitLine();

  /** Whether somebody holds it. */
  locked(): boolean {
    return this.#held !== undefined;
  }

  /**
   * Waits until the lock is free, and takes it.
   *
   * @returns a guard whose `release()` frees the lock, once
   * @throws {CancelledError} If the task is cancelled while it waits, or was before
   * @throws the reason of `signal`, if that is aborted
   *
   * @remarks
   * **When cancelled:** it leaves the line and the next one moves up. A lock
   * that was already handed over is held in spite of the cancellation, which
   * is thrown at the task's next wait.
   */
  acquire(options?: WaitOptions): Promise<Guard> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#held === undefined) return Promise.resolve(this.#hold(scope));
    return this.#wait(scope, options);
  }

  /**
   * Runs `work` while holding the lock, and frees it however `work` ends.
   *
   * @param work Called once, as soon as the lock is held; at once when it is free
   * @returns what `work` returned
   * @throws {CancelledError} If the task is cancelled while it waits for the lock, or was before
   * @throws the reason of `signal`, if that is aborted before the lock is held
   *
   * @remarks
   * **When cancelled:** while it waits it leaves the line, and `work` does not
   * run. Later the cancellation is `work`'s, and the lock is freed when `work`
   * has ended.
   */
  withLock<R>(work: () => R | PromiseLike<R>, options?: WaitOptions): Promise<R> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#held === undefined) return whileHeld(this.#hold(scope), work);
    return this.#wait(scope, options).then((guard) => whileHeld(guard, work));
  }

  /**
   * Frees the lock, or hands it over to the first in line. The guard of
   * whoever held it does nothing any more.
   *
   * @throws {InvalidStateError} If nobody holds it
   */
  release(): void {
    if (this.#held === undefined) {
      throw new InvalidStateError("Cannot release the lock: nobody holds it");
    }
    const next = this.#line.shift<Guard>();
    if (next === undefined) this.#held = undefined;
    else next.resolve(this.#hold(next.scope));
  }

  /** `<Lock unlocked>`, `<Lock locked by 'Task-7' waiting=2>` */
  toString(): string {
    const name = this.constructor.name;
    if (this.#held === undefined) return `<${name} unlocked>`;
    const holder = this.#held.scope?.task;
    const by = holder === undefined ? "" : ` by '${holder.name}'`;
    const waiting = this.#line.length === 0 ? "" : ` waiting=${this.#line.length}`;
    return `<${name} locked${by}${waiting}>`;
  }

  #hold(scope: Scope | undefined): LockGuard {
    return (this.#held = new LockGuard(this, scope));
  }

  #wait(scope: Scope | undefined, options: WaitOptions | undefined): Promise<Guard> {
    const wait = suspend<Guard>(lockWait, this, scope, options);
    this.#line.push(wait);
    return wait.promise;
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value: this.prototype.toString,
    });
    releaseBy = (lock, guard) => {
      if (lock.#held === guard) lock.release();
    };
    lockWait = {
      name: "Lock.acquire",
      withdraw: (wait) => (wait.target as Lock).#line.remove(wait),
      holder: (wait) => (wait.target as Lock).#held?.scope,
    };
  }
}

class LockGuard implements Guard {
  readonly #lock: Lock;
  // The scope and not the task: a lock that outlives everything must not keep
  // a task that nobody can wake from being collected.
  readonly #scope: Scope | undefined;

  constructor(lock: Lock, scope: Scope | undefined) {
    this.#lock = lock;
    this.#scope = scope;
  }

  get scope(): Scope | undefined {
    return this.#scope;
  }

  release(): void {
    releaseBy(this.#lock, this);
  }

  [Symbol.dispose](): void {
    releaseBy(this.#lock, this);
  }
}
