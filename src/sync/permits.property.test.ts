// What must always hold of lock, semaphore, event and the line under them,
// however their waits overlap and wherever they are cancelled.
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  BoundedSemaphore,
  createTask,
  Event,
  type Guard,
  Lock,
  Semaphore,
  sleep,
  type WaitOptions,
} from "heddle";
import { Wait, type WaitKind } from "../task/wait.ts";
import { runVirtual, VirtualClock } from "../testing/virtual-clock.ts";
import { turns } from "./test-support/outcomes.ts";
import { WaitLine } from "./wait-line.ts";

interface Visit {
  /** How long after the start it asks, how long it stays */
  readonly comesAt: number;
  readonly stays: number;
  readonly cancelledAt: number | undefined;
  readonly abortedAt: number | undefined;
  /** Releases once more than it should, which must do nothing */
  readonly releasesTwice: boolean;
}

const time = fc.integer({ min: 0, max: 12 });
const visit: fc.Arbitrary<Visit> = fc.record({
  comesAt: time,
  stays: fc.integer({ min: 0, max: 4 }),
  cancelledAt: fc.option(time, { nil: undefined, freq: 2 }),
  abortedAt: fc.option(time, { nil: undefined, freq: 2 }),
  releasesTwice: fc.boolean(),
});
const visits = fc.array(visit, { minLength: 1, maxLength: 10 });

interface Place {
  acquire(options: WaitOptions): Promise<Guard>;
  within(work: () => Promise<void>, options: WaitOptions): Promise<void>;
  /** Nobody holds anything and nobody waits */
  untouched(): boolean;
}

function lockPlace(): Place {
  const lock = new Lock();
  return {
    acquire: (options) => lock.acquire(options),
    within: (work, options) => lock.withLock(work, options),
    untouched: () => lock.toString() === "<Lock unlocked>",
  };
}

function semaphorePlace(semaphore: Semaphore): Place {
  const before = semaphore.toString();
  return {
    acquire: (options) => semaphore.acquire(options),
    within: (work, options) => semaphore.withPermit(work, options),
    untouched: () => semaphore.toString() === before,
  };
}

async function visitAll(
  all: readonly Visit[],
  place: Place,
  permits: number,
  guarded: boolean,
  pause: (length: number) => Promise<void>,
  at: (when: number, act: () => void) => void,
  allQuiet: () => Promise<void>,
): Promise<void> {
  const asked: number[] = [];
  const entered: number[] = [];
  let inside = 0;
  let most = 0;

  async function stay(who: number, length: number): Promise<void> {
    entered.push(who);
    most = Math.max(most, ++inside);
    try {
      await pause(length);
    } finally {
      inside--;
    }
  }

  const tasks = all.map((visitor, who) => {
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const task = createTask(async () => {
      await pause(visitor.comesAt);
      asked.push(who);
      try {
        if (guarded) {
          const guard = await place.acquire(options);
          try {
            await stay(who, visitor.stays);
          } finally {
            guard.release();
            if (visitor.releasesTwice) guard.release();
          }
        } else await place.within(() => stay(who, visitor.stays), options);
      } catch (error) {
        if (error !== "aborted") throw error;
      }
    });
    const { cancelledAt, abortedAt } = visitor;
    if (cancelledAt !== undefined) at(cancelledAt, () => task.cancel());
    if (abortedAt !== undefined) at(abortedAt, () => controller.abort("aborted"));
    return task;
  });

  await allQuiet();
  for (const task of tasks) {
    expect(task.done()).toBe(true);
    if (!task.cancelled()) expect(task.exception()).toBe(undefined);
  }
  expect(most).toBeLessThanOrEqual(permits);
  // First come, first served, among those that were served at all.
  expect(entered).toEqual(asked.filter((who) => entered.includes(who)));
  // Who was neither cancelled nor aborted was served.
  const served = new Set(entered);
  for (const [who, { cancelledAt, abortedAt }] of all.entries()) {
    if (cancelledAt === undefined && abortedAt === undefined) expect(served.has(who)).toBe(true);
  }
  expect(inside).toBe(0);
  expect(place.untouched()).toBe(true);
}

const places: Record<string, { make: (permits: number) => Place; most: number }> = {
  Lock: { make: lockPlace, most: 1 },
  Semaphore: { make: (permits) => semaphorePlace(new Semaphore(permits)), most: 3 },
  BoundedSemaphore: { make: (permits) => semaphorePlace(new BoundedSemaphore(permits)), most: 3 },
};

for (const [name, { make, most }] of Object.entries(places)) {
  const number = fc.integer({ min: 1, max: most });

  test(`${name} lets no more in than it may, in order, and ends as it began, when visits overlap and are cancelled`, async () => {
    const property = fc.asyncProperty(visits, number, fc.boolean(), (all, permits, guarded) =>
      visitAll(
        all,
        make(permits),
        permits,
        guarded,
        turns,
        (when, act) => void turns(when).then(act),
        () => turns(150),
      ),
    );
    await fc.assert(property, { seed: 227, numRuns: 1_000 });
  });

  test(`${name} does so too when deadlines fall together with hand-overs`, async () => {
    const property = fc.asyncProperty(
      visits,
      number,
      fc.boolean(),
      async (all, permits, guarded) => {
        const clock = new VirtualClock();
        await runVirtual(
          () =>
            visitAll(
              all,
              make(permits),
              permits,
              guarded,
              sleep,
              (when, act) => clock.wakeAfter(when, act),
              () => sleep(100),
            ),
          clock,
        );
        expect(clock.waiting).toBe(0);
      },
    );
    await fc.assert(property, { seed: 228, numRuns: 500 });
  });
}

test("Event lets exactly those go who wait when it is set, and who come while it is", async () => {
  const step = fc.record({
    what: fc.constantFrom("wait", "wait", "wait", "set", "clear", "cancel"),
    which: fc.nat(),
    turnsBeforeNext: fc.integer({ min: 0, max: 3 }),
  });
  const property = fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
    const event = new Event();
    const tasks: ReturnType<typeof createTask<void>>[] = [];
    const expected: ("waiting" | "freed" | "cancelled")[] = [];
    const order: number[] = [];
    let set = false;
    for (const { what, which, turnsBeforeNext } of steps) {
      if (what === "wait") {
        const n = tasks.length;
        const work = async (): Promise<void> => {
          await event.wait();
          order.push(n);
        };
        tasks.push(createTask(work, { eager: true }));
        expected.push(set ? "freed" : "waiting");
      } else if (what === "set") {
        event.set();
        set = true;
        for (const [n, state] of expected.entries()) if (state === "waiting") expected[n] = "freed";
      } else if (what === "clear") {
        event.clear();
        set = false;
      } else if (tasks.length > 0) {
        const n = which % tasks.length;
        tasks[n]!.cancel();
        if (expected[n] === "waiting") expected[n] = "cancelled";
      }
      await turns(turnsBeforeNext);
    }
    await turns();
    expect(
      tasks.map((task) => (task.cancelled() ? "cancelled" : task.done() ? "freed" : "waiting")),
    ).toEqual(expected);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    event.set();
    await turns();
    expect(tasks.every((task) => task.done())).toBe(true);
    expect(event.toString()).toBe("<Event set>");
  });
  await fc.assert(property, { seed: 235, numRuns: 500 });
});

test("WaitLine keeps the order of those who stay, whoever leaves from the middle", () => {
  const kind: WaitKind = { name: "test", withdraw() {} };
  const step = fc.record({
    what: fc.constantFrom("push", "push", "shift", "remove"),
    which: fc.nat(),
  });
  const property = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const line = new WaitLine();
    const plain: Wait<never>[] = [];
    for (const { what, which } of steps) {
      if (what === "push") {
        const wait = new Wait<never>(kind, kind, undefined, undefined, undefined);
        line.push(wait);
        plain.push(wait);
      } else if (what === "shift") expect(line.shift()).toBe(plain.shift());
      else if (plain.length > 0) {
        const [wait] = plain.splice(which % plain.length, 1);
        line.remove(wait!);
        expect([wait!.ahead, wait!.behind]).toEqual([undefined, undefined]);
      }
      expect([line.length, line.first]).toEqual([plain.length, plain[0]]);
    }
    while (plain.length > 0) expect(line.shift()).toBe(plain.shift());
    expect(line.shift()).toBe(undefined);
  });
  fc.assert(property, { seed: 227, numRuns: 500 });
});
