import { inspect } from "node:util";
import { expect, test } from "vitest";
import {
  CancelledError,
  checkpoint,
  createTask,
  InvalidStateError,
  LifoQueue,
  PriorityQueue,
  Queue,
  QueueEmpty,
  QueueFull,
  QueueShutDown,
  type Task,
} from "heddle";
import { turns, watch } from "./test-support/outcomes.ts";

function emptied<T>(queue: Queue<T>): T[] {
  const items: T[] = [];
  while (!queue.empty()) items.push(queue.getNowait());
  return items;
}

/** A task that gets one item and then meets one more wait. */
function getter<T>(queue: Queue<T>, got: T[]): Task<void> {
  return createTask(async () => {
    got.push(await queue.get());
    await checkpoint();
  });
}

test("203. Queue gives the first item first, LifoQueue the last, PriorityQueue the smallest", () => {
  for (const [queue, order] of [
    [new Queue<number>(), [3, 1, 2]],
    [new LifoQueue<number>(), [2, 1, 3]],
    [new PriorityQueue<number>(), [1, 2, 3]],
  ] as const) {
    for (const item of [3, 1, 2]) queue.putNowait(item);
    expect(emptied(queue)).toEqual(order);
  }
});

test("203. PriorityQueue goes by compare, and gives equals in the order in which they were put", () => {
  const queue = new PriorityQueue<{ rank: number; n: number }>({
    compare: (a, b) => b.rank - a.rank,
  });
  for (let n = 0; n < 20; n++) queue.putNowait({ rank: n % 3, n });
  const order = emptied(queue).map(({ rank, n }) => [rank, n]);
  expect(order).toEqual(order.toSorted(([a, m], [b, n]) => b! - a! || m! - n!));
});

test("203. PriorityQueue refuses items that have no order", () => {
  const queue = new PriorityQueue<unknown>();
  queue.putNowait([9, "x"]);
  expect(() => queue.putNowait([10, "x"])).toThrow(TypeError);
  expect(queue.size).toBe(1);
});

test("203. PriorityQueue: a compare that throws fails the item that it is about, and loses nothing", async () => {
  const queue = new PriorityQueue<number>({
    maxSize: 3,
    compare(a, b) {
      if (a === 13 || b === 13) throw new Error("unlucky");
      return a - b;
    },
  });
  queue.putNowait(5);
  queue.putNowait(3);
  expect(() => queue.putNowait(13)).toThrow("unlucky");
  await expect(queue.put(13)).rejects.toThrow("unlucky");
  queue.putNowait(6);
  const [refused, next] = [watch(queue.put(13)), watch(queue.put(4))];
  expect(await queue.get()).toBe(3);
  await turns();
  expect(refused.error).toEqual(new Error("unlucky"));
  expect(next.state).toBe("fulfilled");
  expect(emptied(queue)).toEqual([4, 5, 6]);
  // Of the seven that were put two had failed at once and one later.
  for (let n = 0; n < 4; n++) queue.taskDone();
  await queue.join();
});

test("204. maxSize of zero or less is no bound", () => {
  for (const maxSize of [0, -1, -Infinity, Infinity, undefined]) {
    const queue = new Queue<number>({ maxSize });
    for (let n = 0; n < 100; n++) queue.putNowait(n);
    expect(queue.full()).toBe(false);
    expect(queue.maxSize).toBe(Infinity);
  }
});

test("204. the queue is full at maxSize, so that 1.3 admits two", () => {
  const queue = new Queue<number>({ maxSize: 1.3 });
  queue.putNowait(1);
  expect(queue.full()).toBe(false);
  queue.putNowait(2);
  expect(queue.full()).toBe(true);
  expect(() => queue.putNowait(3)).toThrow(QueueFull);
});

test("204. maxSize that is no number, and options that are no object, are refused", () => {
  expect(() => new Queue({ maxSize: NaN })).toThrow(RangeError);
  expect(() => new Queue({ maxSize: "3" as unknown as number })).toThrow(RangeError);
  expect(() => new Queue(3 as unknown as object)).toThrow("new Queue({ maxSize: 5 })");
});

test("205. getNowait on an empty queue throws QueueEmpty, putNowait on a full one QueueFull", () => {
  const queue = new Queue<number>({ maxSize: 1 });
  expect(() => queue.getNowait()).toThrow(QueueEmpty);
  queue.putNowait(1);
  expect(() => queue.putNowait(2)).toThrow(QueueFull);
  expect(() => queue.putNowait(2)).toThrow(
    "Cannot put an item: the queue is full (size 1, maxSize 1)",
  );
  expect(queue.getNowait()).toBe(1);
  expect([new QueueFull().code, new QueueEmpty().code, new QueueShutDown().code]).toEqual([
    "HEDDLE_QUEUE_FULL",
    "HEDDLE_QUEUE_EMPTY",
    "HEDDLE_QUEUE_SHUT_DOWN",
  ]);
});

test("206. get waits for an item and put for room", async () => {
  const queue = new Queue<string>({ maxSize: 1 });
  const got = watch(queue.get());
  await turns();
  expect(got.state).toBe("waiting");
  await queue.put("a");
  expect(got.value).toBe("a");

  await queue.put("b");
  const put = watch(queue.put("c"));
  await turns();
  expect(put.state).toBe("waiting");
  expect(await queue.get()).toBe("b");
  await turns();
  expect(put.state).toBe("fulfilled");
  expect(queue.size).toBe(1);
});

test("207. each get lets one putter in, each put serves one getter", async () => {
  const queue = new Queue<number>({ maxSize: 1 });
  const getters = [watch(queue.get()), watch(queue.get())];
  await queue.put(1);
  await turns();
  expect(getters.map(({ value }) => value)).toEqual([1, undefined]);
  await queue.put(2);
  expect(getters.map(({ value }) => value)).toEqual([1, 2]);

  await queue.put(3);
  const putters = [watch(queue.put(4)), watch(queue.put(5))];
  expect(await queue.get()).toBe(3);
  await turns();
  expect(putters.map(({ state }) => state)).toEqual(["fulfilled", "waiting"]);
  expect(await queue.get()).toBe(4);
  await turns();
  expect(putters.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled"]);
});

test("208. a getter that is cancelled while it waits is skipped", async () => {
  const queue = new Queue<string>();
  const got: string[] = [];
  const [first, second] = [getter(queue, got), getter(queue, got)];
  await turns();
  first.cancel();
  queue.putNowait("a");
  await second;
  await expect(first.wait()).rejects.toThrow(CancelledError);
  expect(got).toEqual(["a"]);
});

test("208. a getter whose signal is aborted is skipped, and fails with the signal's reason", async () => {
  const queue = new Queue<string>();
  const controller = new AbortController();
  const first = watch(queue.get({ signal: controller.signal }));
  const second = watch(queue.get());
  controller.abort("enough");
  queue.putNowait("a");
  await turns();
  expect([first.error, second.value]).toEqual(["enough", "a"]);
  await expect(queue.get({ signal: controller.signal })).rejects.toBe("enough");
  expect(queue.toString()).toBe("<Queue size=0 unfinished=1>");
});

test("209. a getter that is cancelled after the hand-over has its item; the cancellation meets its next wait", async () => {
  const queue = new Queue<string>();
  const got: string[] = [];
  const task = getter(queue, got);
  await turns();
  queue.putNowait("a");
  task.cancel();
  await expect(task.wait()).rejects.toThrow(CancelledError);
  expect(got).toEqual(["a"]);
  expect(task.cancelled()).toBe(true);
});

test("209. an abort after the hand-over comes too late", async () => {
  const queue = new Queue<string>();
  const controller = new AbortController();
  const got = queue.get({ signal: controller.signal });
  queue.putNowait("a");
  controller.abort();
  expect(await got).toBe("a");
});

test("210. of several getters none hangs beside an item when one is cancelled after the hand-over", async () => {
  const queue = new Queue<number>();
  const got: number[] = [];
  const tasks = [getter(queue, got), getter(queue, got), getter(queue, got)];
  await turns();
  queue.putNowait(1);
  tasks[0]!.cancel();
  queue.putNowait(2);
  tasks[2]!.cancel();
  await turns(20);
  expect(got).toEqual([1, 2]);
  expect(tasks.map((task) => task.cancelled())).toEqual([true, false, true]);
  expect(queue.toString()).toBe("<Queue size=0 unfinished=2>");
});

test("211. a putter that is cancelled while it waits has put nothing, and the next one goes", async () => {
  const queue = new Queue<string>({ maxSize: 1 });
  queue.putNowait("a");
  const first = createTask(() => queue.put("b"));
  const second = createTask(() => queue.put("c"));
  await turns();
  first.cancel();
  expect(await queue.get()).toBe("a");
  await second;
  await expect(first.wait()).rejects.toThrow(CancelledError);
  expect(await queue.get()).toBe("c");
  expect(queue.empty()).toBe(true);
});

test("211. a putter that is cancelled after it was let in has put its item; the cancellation meets its next wait", async () => {
  const queue = new Queue<string>({ maxSize: 1 });
  queue.putNowait("a");
  const task = createTask(async () => {
    await queue.put("b");
    await queue.put("c");
  });
  await turns();
  expect(queue.getNowait()).toBe("a");
  task.cancel();
  await expect(task.wait()).rejects.toThrow(CancelledError);
  expect(emptied(queue)).toEqual(["b"]);
});

test("212. cancelled waiters leave nothing behind", async () => {
  const queue = new Queue<number>({ maxSize: 1 });
  const getters = [1, 2, 3].map(() => createTask(() => queue.get()));
  await turns();
  expect(queue.toString()).toBe("<Queue size=0 maxSize=1 getting=3>");
  for (const task of [getters[1]!, getters[0]!, getters[2]!]) task.cancel();
  expect(queue.toString()).toBe("<Queue size=0 maxSize=1>");

  queue.putNowait(0);
  const putters = [1, 2, 3].map((n) => createTask(() => queue.put(n)));
  const joiner = createTask(() => queue.join());
  await turns();
  expect(queue.toString()).toBe("<Queue size=1 maxSize=1 putting=3 joining=1 unfinished=1>");
  for (const task of [...putters, joiner]) task.cancel();
  expect(queue.toString()).toBe("<Queue size=1 maxSize=1 unfinished=1>");
  await turns();
  for (const task of [...getters, ...putters, joiner]) expect(task.cancelled()).toBe(true);
});

test("213. a newcomer cannot take what was handed over, and putters keep their order", async () => {
  const queue = new Queue<number>({ maxSize: 1 });
  const waiting = watch(queue.get());
  queue.putNowait(1);
  expect(() => queue.getNowait()).toThrow(QueueEmpty);
  await turns();
  expect(waiting.value).toBe(1);

  queue.putNowait(2);
  const put = queue.put(3);
  expect(queue.getNowait()).toBe(2);
  expect(() => queue.putNowait(4)).toThrow(QueueFull);
  await put;
  expect(emptied(queue)).toEqual([3]);
});

test("214. overlapping producers and consumers on a queue of one never stall", async () => {
  const queue = new Queue<number>({ maxSize: 1 });
  const got: number[] = [];
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  const producers = [0, 1, 2].map((producer) =>
    createTask(async () => {
      for (const n of numbers) await queue.put(n * 3 + producer);
    }),
  );
  const consumers = [0, 1].map(() =>
    createTask(async () => {
      for (const _ of [...numbers, ...numbers.slice(25)]) got.push(await queue.get());
    }),
  );
  await Promise.all([...producers, ...consumers]);
  expect(got.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 150 }, (_, n) => n));
});

test("215. taskDone more often than there were items is an error", async () => {
  const queue = new Queue<number>();
  expect(() => queue.taskDone()).toThrow(InvalidStateError);
  await queue.put(1);
  queue.taskDone();
  expect(() => queue.taskDone()).toThrow(
    "Cannot mark an item as done: every item that was put is marked already",
  );
});

test("216. join waits until every item was marked, and not at all when nothing was put", async () => {
  const queue = new Queue<number>();
  await queue.join();
  queue.putNowait(1);
  queue.putNowait(2);
  const joins = [watch(queue.join()), watch(queue.join())];
  await queue.get();
  await queue.get();
  queue.taskDone();
  await turns();
  expect(joins.map(({ state }) => state)).toEqual(["waiting", "waiting"]);
  queue.taskDone();
  queue.putNowait(3);
  await turns();
  expect(joins.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled"]);
});

test("216. join counts an item that was handed straight to a getter", async () => {
  const queue = new Queue<number>();
  const got = queue.get();
  queue.putNowait(1);
  const join = watch(queue.join());
  await got;
  await turns();
  expect(join.state).toBe("waiting");
  queue.taskDone();
  await turns();
  expect(join.state).toBe("fulfilled");
});

test("217. after shutdown every put fails, also one that waits already", async () => {
  const queue = new Queue<number>({ maxSize: 1 });
  queue.putNowait(1);
  const waiting = watch(queue.put(2));
  queue.shutdown();
  await turns();
  expect(waiting.error).toBeInstanceOf(QueueShutDown);
  expect(() => queue.putNowait(3)).toThrow(QueueShutDown);
  await expect(queue.put(3)).rejects.toThrow("Cannot put an item: the queue is shut down");
  expect(emptied(queue)).toEqual([1]);
});

test("218. after shutdown what is left can be got, then get fails", async () => {
  const queue = new Queue<number>();
  queue.putNowait(1);
  queue.putNowait(2);
  queue.shutdown();
  expect(await queue.get()).toBe(1);
  expect(queue.getNowait()).toBe(2);
  await expect(queue.get()).rejects.toThrow(QueueShutDown);
  expect(() => queue.getNowait()).toThrow(QueueShutDown);
});

test("219. shutdown of an empty queue ends the getters with QueueShutDown and lets join pass", async () => {
  const queue = new Queue<number>();
  const waiting = [watch(queue.get()), watch(queue.get())];
  queue.shutdown();
  await queue.join();
  await turns();
  for (const { error } of waiting) expect(error).toBeInstanceOf(QueueShutDown);
});

test("220. shutdown does not let join pass while items are not marked", async () => {
  const queue = new Queue<number>();
  queue.putNowait(1);
  const join = watch(queue.join());
  queue.shutdown();
  await turns();
  expect(join.state).toBe("waiting");
  await queue.get();
  queue.taskDone();
  await turns();
  expect(join.state).toBe("fulfilled");
});

test("221. immediate shutdown empties the queue, counts what it dropped as finished, and lets join pass", async () => {
  for (const queue of [new Queue<number>(), new LifoQueue<number>(), new PriorityQueue<number>()]) {
    queue.putNowait(1);
    queue.putNowait(2);
    const join = watch(queue.join());
    queue.shutdown({ immediate: true });
    await turns();
    expect(join.state).toBe("fulfilled");
    expect(queue.empty()).toBe(true);
    await expect(queue.get()).rejects.toThrow(QueueShutDown);
  }
});

test("221. the count of unfinished items does not fall below zero", async () => {
  const queue = new Queue<number>();
  queue.putNowait(1);
  queue.putNowait(2);
  queue.taskDone();
  queue.shutdown({ immediate: true });
  await queue.join();
  expect(() => queue.taskDone()).toThrow(InvalidStateError);
});

test("222. what was got before an immediate shutdown still has to be marked", async () => {
  const queue = new Queue<number>();
  queue.putNowait(1);
  queue.putNowait(2);
  await queue.get();
  const join = watch(queue.join());
  queue.shutdown({ immediate: true });
  await turns();
  expect(join.state).toBe("waiting");
  queue.taskDone();
  await turns();
  expect(join.state).toBe("fulfilled");
});

test("223. marking more than that is an error as before", () => {
  const queue = new Queue<number>();
  queue.putNowait(1);
  queue.shutdown({ immediate: true });
  expect(() => queue.taskDone()).toThrow(InvalidStateError);
});

test("224. shutdown may be repeated, and made immediate later", () => {
  const queue = new Queue<number>();
  queue.putNowait(1);
  queue.shutdown();
  queue.shutdown();
  expect(queue.size).toBe(1);
  queue.shutdown({ immediate: true });
  queue.shutdown();
  expect(queue.size).toBe(0);
});

test("225. a queue prints its sizes, who waits, what is unfinished, and that it is shut down", async () => {
  const queue = new Queue<number>({ maxSize: 1 });
  expect(inspect(queue)).toBe("<Queue size=0 maxSize=1>");
  queue.putNowait(1);
  queue.put(2).catch(() => {});
  queue.join().catch(() => {});
  expect(inspect([queue])).toBe("[ <Queue size=1 maxSize=1 putting=1 joining=1 unfinished=1> ]");
  queue.shutdown();
  expect(String(queue)).toBe("<Queue size=1 maxSize=1 joining=1 unfinished=1 shut down>");
  const lifo = new LifoQueue();
  lifo.get().catch(() => {});
  expect(inspect(lifo)).toBe("<LifoQueue size=0 getting=1>");
  await turns();
});

test("Queue is a cancellation point also where it need not wait", async () => {
  const queue = new Queue<number>();
  queue.putNowait(1);
  for (const operation of [
    () => queue.get(),
    () => queue.put(2),
    () => queue.join(),
    () => queue[Symbol.asyncIterator]().next(),
  ]) {
    const task = createTask(async (self) => {
      self.cancel();
      await operation();
    });
    await expect(task.wait()).rejects.toThrow(CancelledError);
  }
  const signal = AbortSignal.abort("no");
  for (const refused of [queue.get({ signal }), queue.put(2, { signal }), queue.join({ signal })]) {
    await expect(refused).rejects.toBe("no");
  }
  expect(queue.toString()).toBe("<Queue size=1 unfinished=1>");
});

test("Queue: two gets of one task are both ended by its cancellation, and neither takes an item", async () => {
  const [one, other] = [new Queue<number>(), new Queue<number>()];
  const task = createTask(() => Promise.all([one.get(), other.get()]));
  await turns();
  task.cancel();
  one.putNowait(1);
  other.putNowait(2);
  await expect(task.wait()).rejects.toThrow(CancelledError);
  expect([one.size, other.size]).toEqual([1, 1]);
});

test("Queue is iterated until it is shut down and empty", async () => {
  const queue = new Queue<number>({ maxSize: 2 });
  const seen: number[] = [];
  const consumer = createTask(async () => {
    for await (const item of queue) {
      seen.push(item);
      queue.taskDone();
    }
    return "over";
  });
  for (let n = 0; n < 5; n++) await queue.put(n);
  await queue.join();
  queue.putNowait(5);
  queue.shutdown();
  expect(await consumer).toBe("over");
  expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
});

test("Queue: an iteration that is cancelled takes no item with it", async () => {
  const queue = new Queue<number>();
  const seen: number[] = [];
  const consumer = createTask(async () => {
    for await (const item of queue) seen.push(item);
  });
  await turns();
  queue.putNowait(1);
  await turns();
  consumer.cancel();
  queue.putNowait(2);
  await expect(consumer.wait()).rejects.toThrow(CancelledError);
  expect([seen, emptied(queue)]).toEqual([[1], [2]]);
});

test("Queue: leaving an iteration ends the next() that waits and leaves other getters alone", async () => {
  const queue = new Queue<number>();
  const [left, stays] = [queue[Symbol.asyncIterator](), queue[Symbol.asyncIterator]()];
  const waits = [left.next(), stays.next(), left.next()].map((next) => watch(next));
  const got = watch(queue.get());
  await left.return!();
  expect(await left.next()).toEqual({ done: true, value: undefined });
  queue.putNowait(1);
  queue.putNowait(2);
  await turns();
  expect(waits.map(({ value }) => value)).toEqual([
    { done: true, value: undefined },
    { done: false, value: 1 },
    { done: true, value: undefined },
  ]);
  expect(got.value).toBe(2);
});

test("Queue: an iteration gives a promise as it is, get awaits it", async () => {
  const queue = new Queue<Promise<number>>();
  const item = Promise.resolve(1);
  queue.putNowait(item);
  expect((await queue[Symbol.asyncIterator]().next()).value).toBe(item);
  const next = queue[Symbol.asyncIterator]().next();
  queue.putNowait(item);
  expect((await next).value).toBe(item);
  queue.putNowait(item);
  expect(await queue.get()).toBe(1);
});
