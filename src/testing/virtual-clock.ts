// Time that a test moves itself.
//
// Moving on is slow on purpose: after EVERY wake-up the promises are let settle,
// because what a wake-up sets free may ask for the next one, due before the
// place that the test is moving to. Firing all that is due first, as most fake
// timers do, runs the second sleep of a loop in the wrong order or not at all.
import { AsyncResource } from "node:async_hooks";
import type { Clock } from "../task/clock.ts";
import { nextTurn, systemClock, turnsAwaited } from "../task/clock.ts";
import { CancelledError } from "../task/errors.ts";
import { allTasks } from "../task/live.ts";
import { runInScope } from "../task/scope.ts";
import { launch, makeTask, type Task } from "../task/task.ts";

interface WakeUp {
  readonly due: number;
  readonly order: number;
  readonly wake: () => void;
  /** A wake-up runs in the context in which it was asked for, as the machine's do */
  readonly context: AsyncResource;
}

/**
 * A clock that stands still until it is moved: `advance` goes from wake-up to
 * wake-up and lets everything that each of them sets free run.
 *
 * @example An hour of real waiting in no time
 * ```ts
 * import { VirtualClock } from "heddle/testing";
 * import assert from "node:assert/strict";
 *
 * const clock = new VirtualClock();
 * const woken: number[] = [];
 * clock.wakeAfter(3_600_000, () => woken.push(clock.now()));
 * await clock.advance(3_599_999);
 * assert.deepEqual(woken, []);
 * await clock.advance(1);
 * assert.deepEqual(woken, [3_600_000]);
 * ```
 */
export class VirtualClock implements Clock {
  #now: number;
  #count = 0;
  /** In order of due time, then of registration */
  readonly #wakeUps: WakeUp[] = [];
  #moved: Promise<unknown> = Promise.resolve();

  /** @param startMs What `now()` gives at first, in milliseconds */
  constructor(startMs = 0) {
    if (!Number.isFinite(startMs)) {
      throw new RangeError(
        `Cannot make a clock: startMs must be a finite number, current value is ${String(startMs)}`,
      );
    }
    this.#now = startMs;
  }

  /** The time in milliseconds: where it was moved to. */
  now(): number {
    return this.#now;
  }

  /** How many wake-ups have been asked for and not been called off. */
  get waiting(): number {
    return this.#wakeUps.length;
  }

  /** When the next wake-up is due, `Infinity` if none is. */
  get nextDue(): number {
    return this.#wakeUps[0]?.due ?? Infinity;
  }

  wakeAfter(delayMs: number, wake: () => void): () => void {
    if (Number.isNaN(delayMs)) throw new RangeError("Cannot wait: delayMs is not a number");
    if (delayMs === Infinity) return () => {};
    const wakeUp: WakeUp = {
      due: this.#now + Math.max(0, delayMs),
      order: ++this.#count,
      wake,
      context: new AsyncResource("HeddleVirtualTimer"),
    };
    this.#wakeUps.splice(this.#placeOf(wakeUp), 0, wakeUp);
    return () => {
      const place = this.#placeOf(wakeUp);
      if (this.#wakeUps[place] === wakeUp) this.#wakeUps.splice(place, 1);
    };
  }

  /**
   * Moves the time on by `ms` milliseconds, from wake-up to wake-up; what is
   * due in one instant is called in the order in which it was asked for.
   *
   * @returns when all that this has set free has run as far as it can
   * @throws {RangeError} If `ms` is not a finite number of at least 0
   */
  advance(ms: number): Promise<void> {
    if (!(ms >= 0 && ms < Infinity)) {
      const error = new RangeError(
        `Cannot advance: ms must be a finite number >= 0, current value is ${String(ms)}`,
      );
      return Promise.reject(error);
    }
    return this.#inTurn(async () => {
      const until = this.#now + ms;
      await settled();
      while (this.nextDue <= until) {
        this.#fire();
        await settled();
      }
      this.#now = until;
    });
  }

  /**
   * Moves on to the next wake-up and calls that one alone.
   *
   * @returns false when there is none
   */
  next(): Promise<boolean> {
    return this.#inTurn(async () => {
      await settled();
      const any = this.#wakeUps.length > 0;
      if (any) {
        this.#fire();
        await settled();
      }
      return any;
    });
  }

  /**
   * Moves on until no wake-up is left.
   *
   * @throws {Error} After `most` wake-ups: something asks for ever
   */
  async runToEnd(most = 100_000): Promise<void> {
    for (let n = 0; n < most; n++) if (!(await this.next())) return;
    throw new Error(`Cannot come to an end: ${most} wake-ups later ${this.waiting} are waiting`);
  }

  /** Lets everything run that is ready now, without moving the time. */
  settle(): Promise<void> {
    return this.#inTurn(settled);
  }

  // Two moves that overlap are made one after the other.
  #inTurn<T>(move: () => Promise<T>): Promise<T> {
    const moved = this.#moved.then(move);
    this.#moved = moved.catch(() => {});
    return moved;
  }

  #fire(): void {
    const wakeUp = this.#wakeUps.shift();
    if (wakeUp === undefined) return;
    this.#now = Math.max(this.#now, wakeUp.due);
    wakeUp.context.runInAsyncScope(wakeUp.wake);
  }

  #placeOf(wakeUp: WakeUp): number {
    let low = 0;
    let high = this.#wakeUps.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const there = this.#wakeUps[middle] as WakeUp;
      const sooner =
        there.due < wakeUp.due || (there.due === wakeUp.due && there.order < wakeUp.order);
      if (sooner) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

// Quiet turns of the event loop before we believe that nothing is ready: one
// drains the microtasks, the second is for what hops over a setImmediate of its own.
const quietTurns = 2;
// A loop of checkpoints is never quiet.
const longestSettle = 200;

async function settled(): Promise<void> {
  let quiet = 0;
  for (let turn = 0; quiet < quietTurns && turn < longestSettle; turn++) {
    await new Promise<void>(nextTurn);
    const busy = turnsAwaited() > 0 || process.getActiveResourcesInfo().includes("Immediate");
    quiet = busy ? 0 : quiet + 1;
  }
}

// How long the machine may take before we say that nothing will come: a file
// that is being read gives no sign until it has been.
const stuckAfterMs = 300;

async function machineTime(ms: number): Promise<void> {
  await new Promise<void>((resolve) => systemClock.wakeAfter(ms, resolve));
}

/**
 * Runs `work` in a task on a {@link VirtualClock}, which goes on to the next
 * wake-up whenever nothing is ready to run. Tasks that are left at the end are
 * cancelled and waited for.
 *
 * The time is virtual, the machine is not: a file or a socket that `work` waits
 * for is not known to the clock, which goes on meanwhile.
 *
 * @returns what `work` returned
 * @throws {Error} If nothing is ready, no wake-up is left and `work` has not
 * ended, 0.3 seconds of the machine's time later: the message lists the tasks and what each of them waits on. Whatever
 * `work` throws comes out unchanged.
 *
 * @example
 * ```ts
 * import { now, sleep } from "heddle";
 * import { runVirtual } from "heddle/testing";
 * import assert from "node:assert/strict";
 *
 * const slept = await runVirtual(async () => {
 *   await sleep(86_400_000);
 *   return now();
 * });
 * assert.equal(slept, 86_400_000);
 * ```
 */
export async function runVirtual<T>(
  work: (clock: VirtualClock) => T | PromiseLike<T>,
  clock: VirtualClock = new VirtualClock(),
): Promise<T> {
  if (typeof work !== "function") {
    throw new TypeError(
      `Cannot run: pass the function itself, as in runVirtual(async (clock) => …), not ${typeof work}`,
    );
  }
  const main = (): T | PromiseLike<T> => work(clock);
  // A root of its own: nothing around it answers for its tasks.
  const task = runInScope(undefined, () => makeTask(main, { name: "main" }, clock), undefined);
  const result = task.wait();
  result.catch(() => {});
  runInScope(undefined, () => launch(task, main, false), undefined);
  await clock.settle();
  let patienceMs = stuckAfterMs;
  while (!task.done()) {
    if ((await clock.next()) || task.done()) {
      patienceMs = stuckAfterMs;
      continue;
    }
    if (patienceMs > 0) {
      await machineTime(10);
      patienceMs -= 10;
      continue;
    }
    const stuck = stuckError(clock);
    await endAll(clock);
    throw stuck;
  }
  await endAll(clock);
  return result;
}

function tasksOn(clock: VirtualClock): Task<unknown>[] {
  return allTasks().filter((task) => task.scope.clock === clock);
}

async function endAll(clock: VirtualClock): Promise<void> {
  const asked = new Set<Task<unknown>>();
  // One that ignores its cancellation and sleeps on would keep us for ever.
  for (let wakeUps = 0; wakeUps < 10_000; wakeUps++) {
    const left = tasksOn(clock);
    const fresh = left.filter((task) => !asked.has(task));
    for (const task of fresh) {
      asked.add(task);
      task.request(new CancelledError("runVirtual has ended", task));
    }
    await clock.settle();
    // What cleans up may sleep; what ignores its cancellation is left behind.
    if (fresh.length === 0 && (left.length === 0 || !(await clock.next()))) return;
  }
}

function stuckError(clock: VirtualClock): Error {
  const lines = tasksOn(clock).map((task) =>
    task.lastWait === undefined
      ? `  ${task.toString()} waits on a promise that is not the library's`
      : `  ${task.toString()}`,
  );
  return new Error(
    `Cannot go on: nothing is ready at ${clock.now()} ms and no wake-up is left\n${lines.join("\n")}`,
  );
}
