// What must always hold of the queues, however their operations overlap.
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  CancelledError,
  createTask,
  LifoQueue,
  PriorityQueue,
  Queue,
  QueueEmpty,
  QueueFull,
  QueueShutDown,
  sleep,
  type Task,
} from "heddle";
import { runVirtual, VirtualClock } from "../testing/virtual-clock.ts";
import { Heap, Ring } from "./items.ts";
import { type Outcome, turns, watch } from "./test-support/outcomes.ts";

// First the exact outcome of every operation, against a model that is written
// with plain arrays: who is served is decided at the call, not at some wake-up.

interface Asked {
  outcome: Outcome<unknown>;
  /** What the model says has become of it: "waiting", the value, or the kind of error */
  expected: unknown;
}

class Model {
  readonly items: number[] = [];
  readonly getters: Asked[] = [];
  readonly putters: { asked: Asked; item: number }[] = [];
  readonly joiners: Asked[] = [];
  unfinished = 0;
  shutDown = false;
  readonly #maxSize: number;
  readonly #nextAt: (items: readonly number[]) => number;

  constructor(maxSize: number, nextAt: (items: readonly number[]) => number) {
    this.#maxSize = maxSize <= 0 ? Infinity : maxSize;
    this.#nextAt = nextAt;
  }

  full(): boolean {
    return this.items.length >= this.#maxSize;
  }

  add(item: number): void {
    this.unfinished++;
    const getter = this.getters.shift();
    if (getter === undefined) this.items.push(item);
    else getter.expected = item;
  }

  take(): number {
    const [item] = this.items.splice(this.#nextAt(this.items), 1);
    const putter = this.putters.shift();
    if (putter !== undefined) {
      putter.asked.expected = undefined;
      this.add(putter.item);
    }
    return item!;
  }

  finish(count: number): void {
    this.unfinished = Math.max(0, this.unfinished - count);
    if (this.unfinished > 0) return;
    for (const joiner of this.joiners.splice(0)) joiner.expected = undefined;
  }
}

const models = {
  Queue: () => 0,
  LifoQueue: (items: readonly number[]) => items.length - 1,
  PriorityQueue: (items: readonly number[]) => items.indexOf(Math.min(...items)),
};

const makers = {
  Queue: (maxSize: number) => new Queue<number>({ maxSize }),
  LifoQueue: (maxSize: number) => new LifoQueue<number>({ maxSize }),
  PriorityQueue: (maxSize: number) =>
    new PriorityQueue<number>({ maxSize, compare: (a, b) => a - b }),
};

const operation = fc.record({
  // Puts and gets more often than the rest, shutdown rarely.
  what: fc.constantFrom(
    ...(["put", "put", "put", "put", "get", "get", "get", "next", "abort", "abort"] as const),
    ...(["put", "get", "abort", "putNowait", "getNowait", "taskDone", "join"] as const),
    ...(["put", "get", "put", "get", "put", "get", "shutdown", "shutdownNow"] as const),
  ),
  value: fc.integer({ min: 0, max: 1_000 }),
  turnsBeforeNext: fc.integer({ min: 0, max: 3 }),
});

function thrownBy(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return (error as object).constructor;
  }
}

for (const kind of ["Queue", "LifoQueue", "PriorityQueue"] as const) {
  test(`${kind} serves and refuses exactly as its model does, however puts, gets and aborts overlap`, async () => {
    const property = fc.asyncProperty(
      fc.array(operation, { maxLength: 60 }),
      fc.integer({ min: 0, max: 3 }),
      async (operations, maxSize) => {
        const queue = makers[kind](maxSize);
        const model = new Model(maxSize, models[kind]);
        const iterator = queue[Symbol.asyncIterator]();
        const all: Asked[] = [];
        const aborts: { controller: AbortController; asked: Asked }[] = [];
        let count = 0;

        function ask(start: (signal: AbortSignal) => Promise<unknown>): Asked {
          const controller = new AbortController();
          const asked = { outcome: watch(start(controller.signal)), expected: "waiting" };
          aborts.push({ controller, asked });
          all.push(asked);
          return asked;
        }

        for (const { what, value, turnsBeforeNext } of operations) {
          // Unique, so that a lost one and a doubled one are both seen.
          const item = value * 1_000 + count++;
          if (what === "put") {
            const asked = ask((signal) => queue.put(item, { signal }));
            if (model.shutDown) asked.expected = QueueShutDown;
            else if (model.full()) model.putters.push({ asked, item });
            else {
              asked.expected = undefined;
              model.add(item);
            }
          } else if (what === "get" || what === "next") {
            const asked = ask((signal) =>
              what === "get"
                ? queue.get({ signal })
                : iterator.next().then((next) => (next.done ? QueueShutDown : next.value)),
            );
            // A next() takes no signal.
            if (what === "next") aborts.pop();
            if (model.items.length > 0) asked.expected = model.take();
            else if (model.shutDown) asked.expected = QueueShutDown;
            else model.getters.push(asked);
          } else if (what === "join") {
            const asked = ask((signal) => queue.join({ signal }));
            if (model.unfinished === 0) asked.expected = undefined;
            else model.joiners.push(asked);
          } else if (what === "abort" && aborts.length > 0) {
            const { controller, asked } = aborts.splice(value % aborts.length, 1)[0]!;
            controller.abort("aborted");
            if (asked.expected === "waiting") {
              asked.expected = "aborted";
              for (const line of [model.getters, model.joiners]) {
                if (line.includes(asked)) line.splice(line.indexOf(asked), 1);
              }
              const at = model.putters.findIndex((putter) => putter.asked === asked);
              if (at >= 0) model.putters.splice(at, 1);
            }
          } else if (what === "putNowait") {
            const thrown = thrownBy(() => queue.putNowait(item));
            if (model.shutDown) expect(thrown).toBe(QueueShutDown);
            else if (model.full()) expect(thrown).toBe(QueueFull);
            else model.add(item);
          } else if (what === "getNowait") {
            const got = thrownBy(() => queue.getNowait());
            if (model.items.length > 0) expect(got).toBe(model.take());
            else expect(got).toBe(model.shutDown ? QueueShutDown : QueueEmpty);
          } else if (what === "taskDone") {
            if (model.unfinished > 0) queue.taskDone();
            else expect(() => queue.taskDone()).toThrow();
            model.finish(1);
          } else if (what === "shutdown" || what === "shutdownNow") {
            queue.shutdown({ immediate: what === "shutdownNow" });
            model.shutDown = true;
            if (what === "shutdownNow") model.finish(model.items.splice(0).length);
            for (const { asked } of model.putters.splice(0)) asked.expected = QueueShutDown;
            for (const asked of model.getters.splice(0)) asked.expected = QueueShutDown;
          }
          expect([queue.size, queue.full()]).toEqual([model.items.length, model.full()]);
          await turns(turnsBeforeNext);
        }

        await turns();
        expect(all.map(({ outcome }) => seen(outcome))).toEqual(
          all.map(({ expected }) => expected),
        );
        // Nobody is left in a line: what the queue prints is what the model has.
        const text = queue.toString();
        for (const [word, line] of [
          ["getting", model.getters],
          ["putting", model.putters],
          ["joining", model.joiners],
        ] as const) {
          expect(Number(new RegExp(`${word}=(\\d+)`).exec(text)?.[1] ?? 0)).toBe(line.length);
        }
        const left = model.items.slice();
        while (left.length > 0) {
          expect(queue.getNowait()).toBe(model.take());
          left.splice(0, left.length, ...model.items);
        }
      },
    );
    await fc.assert(property, { seed: 203, numRuns: 700 });
  });
}

function seen(outcome: Outcome<unknown>): unknown {
  if (outcome.state === "waiting") return "waiting";
  if (outcome.state === "fulfilled") return outcome.value;
  return outcome.error === "aborted" ? "aborted" : (outcome.error as object).constructor;
}

// Then tasks that overlap and are cancelled wherever they happen to be.

interface Actor {
  readonly pauses: readonly number[];
  /** When it is cancelled; after its own end that does nothing */
  readonly cancelledAt: number | undefined;
  /** Whether it goes on, after its cancellation, with what it was about */
  readonly denies: boolean;
}

const actor: fc.Arbitrary<Actor> = fc.record({
  pauses: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 8 }),
  cancelledAt: fc.option(fc.integer({ min: 0, max: 12 }), { nil: undefined }),
  denies: fc.boolean(),
});

const actors = fc.array(actor, { minLength: 1, maxLength: 4 });

interface Item {
  readonly producer: number;
  readonly n: number;
}

/**
 * Lets producers and consumers meet at one queue, and checks what became of
 * each item. `pause` and `at` are in microtask turns or on a virtual clock.
 */
async function meet(
  producers: readonly Actor[],
  consumers: readonly Actor[],
  queue: Queue<Item>,
  pause: (length: number) => Promise<void>,
  at: (time: number, act: () => void) => void,
  allQuiet: () => Promise<void>,
): Promise<void> {
  const put: Item[] = [];
  const got: Item[] = [];

  async function unlessCancelled(work: () => Promise<void>, denies: boolean): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof CancelledError) || !denies) throw error;
    }
  }

  function begin(part: Actor, once: (n: number) => Promise<void>): Task<void> {
    const task = createTask(async () => {
      try {
        for (const [n, length] of part.pauses.entries()) {
          await unlessCancelled(() => pause(length), part.denies);
          await unlessCancelled(() => once(n), part.denies);
        }
      } catch (error) {
        if (!(error instanceof QueueShutDown)) throw error;
      }
    });
    if (part.cancelledAt !== undefined) at(part.cancelledAt, () => task.cancel());
    return task;
  }

  const putting = producers.map((part, producer) =>
    begin(part, async (n) => {
      const item = { producer, n };
      await queue.put(item);
      put.push(item);
    }),
  );
  const getting = consumers.map((part) =>
    begin(part, async () => {
      got.push(await queue.get());
    }),
  );

  await allQuiet();
  // Nobody stands beside what it waits for.
  if (putting.some((task) => !task.done())) expect(queue.full()).toBe(true);
  if (getting.some((task) => !task.done())) expect(queue.empty()).toBe(true);

  // Those that are left get what they wait for.
  const left: Item[] = [];
  for (let round = 0; round < 100 && putting.some((task) => !task.done()); round++) {
    while (!queue.empty()) left.push(queue.getNowait());
    await allQuiet();
  }
  while (!queue.empty()) left.push(queue.getNowait());
  queue.shutdown();
  await allQuiet();
  for (const task of [...putting, ...getting]) {
    expect(task.done()).toBe(true);
    if (!task.cancelled()) expect(task.exception()).toBe(undefined);
  }

  const name = ({ producer, n }: Item): string => `${producer}:${n}`;
  const delivered = [...got, ...left];
  // Each item that was put came out once, and no other did.
  expect(delivered.map(name).toSorted()).toEqual(put.map(name).toSorted());
  for (const producer of producers.keys()) {
    const order = delivered.filter((item) => item.producer === producer).map(({ n }) => n);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  }
  expect(queue.toString()).toMatch(/^<Queue size=0( maxSize=\d)?( unfinished=\d+)? shut down>$/);
}

test("Queue loses and doubles nothing and keeps each producer's order when tasks overlap and are cancelled", async () => {
  const property = fc.asyncProperty(
    actors,
    actors,
    fc.integer({ min: 0, max: 3 }),
    async (producers, consumers, maxSize) => {
      await meet(
        producers,
        consumers,
        new Queue<Item>({ maxSize }),
        turns,
        (time, act) => void turns(time).then(act),
        () => turns(200),
      );
    },
  );
  await fc.assert(property, { seed: 208, numRuns: 1_000 });
});

test("Queue loses and doubles nothing when deadlines fall together with hand-overs", async () => {
  const property = fc.asyncProperty(
    actors,
    actors,
    fc.integer({ min: 0, max: 3 }),
    async (producers, consumers, maxSize) => {
      const clock = new VirtualClock();
      await runVirtual(async () => {
        // The main task sleeps on the same clock, past everything that is due.
        await meet(
          producers,
          consumers,
          new Queue<Item>({ maxSize }),
          sleep,
          (time, act) => clock.wakeAfter(time, act),
          () => sleep(100),
        );
      }, clock);
      expect(clock.waiting).toBe(0);
    },
  );
  await fc.assert(property, { seed: 209, numRuns: 500 });
});

// And what the queues keep their items in.

test("Ring gives what an array would, also across its growing and shrinking", () => {
  const steps = fc.array(fc.integer({ min: -60, max: 60 }), { maxLength: 40 });
  const property = fc.property(steps, (moves) => {
    const ring = new Ring<number>();
    const plain: number[] = [];
    let count = 0;
    for (const move of moves) {
      for (let n = 0; n < move; n++) {
        ring.push(count);
        plain.push(count++);
      }
      for (let n = 0; n > move && plain.length > 0; n--) expect(ring.take()).toBe(plain.shift());
      expect(ring.length).toBe(plain.length);
    }
    ring.clear();
    ring.push(-1);
    expect([ring.length, ring.take()]).toEqual([1, -1]);
  });
  fc.assert(property, { seed: 203, numRuns: 500 });
});

test("Heap gives the smallest first and equals in order, and a compare that throws changes nothing", () => {
  const step = fc.oneof(
    fc.record({ rank: fc.integer({ min: 0, max: 6 }) }),
    fc.constant("take" as const),
  );
  const failures = fc.array(fc.boolean(), { maxLength: 100 });
  const property = fc.property(fc.array(step, { maxLength: 80 }), failures, (steps, fails) => {
    let comparisons = 0;
    let reliable = false;
    const heap = new Heap<{ rank: number; n: number }>((a, b) => {
      if (!reliable && fails[comparisons++] === true) throw new Error("unlucky");
      return a.rank - b.rank;
    });
    const plain: { rank: number; n: number }[] = [];
    const takeOne = (): void => {
      const next = plain.toSorted((a, b) => a.rank - b.rank || a.n - b.n)[0]!;
      try {
        expect(heap.take()).toBe(next);
      } catch (error) {
        if ((error as Error).message !== "unlucky") throw error;
        return;
      }
      plain.splice(plain.indexOf(next), 1);
    };
    for (const [n, what] of steps.entries()) {
      if (what !== "take") {
        const item = { rank: what.rank, n };
        try {
          heap.push(item);
          plain.push(item);
        } catch (error) {
          expect((error as Error).message).toBe("unlucky");
        }
      } else if (plain.length > 0) takeOne();
      expect(heap.length).toBe(plain.length);
    }
    reliable = true;
    while (plain.length > 0) takeOne();
    expect(heap.length).toBe(0);
  });
  fc.assert(property, { seed: 203, numRuns: 500 });
});
