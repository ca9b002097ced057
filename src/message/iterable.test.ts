import { AsyncLocalStorage } from "node:async_hooks";
import { expect, test } from "vitest";
import { guardSource } from "./guard.ts";
import { iterableSource, toSource } from "./iterable.ts";
import type { SourceConnection } from "./source.ts";
import { deferred, readAll, RecordingHost, settled } from "./test-support/host.ts";

function open<M>(iterable: Iterable<M> | AsyncIterable<M>): {
  host: RecordingHost<M>;
  connection: SourceConnection;
} {
  const host = new RecordingHost<M>();
  const connection = guardSource(iterableSource(iterable)).open(host) as SourceConnection;
  return { host, connection };
}

test("iterableSource hands over every item of an array, numbered", async () => {
  const host = await readAll(guardSource(iterableSource(["a", "b", "c"], { name: "letters" })));
  expect(host.messages).toEqual(["a", "b", "c"]);
  expect(host.deliveries.map(({ id }) => id)).toEqual(["1", "2", "3"]);
  expect(host.deliveries[1]).toMatchObject({
    key: undefined,
    attempt: 1,
    partition: "",
    headers: {},
    idempotencyKey: "letters:2",
    redelivered: false,
    invalid: undefined,
  });
});

test("iterableSource pulls no further than it was asked to", async () => {
  let pulled = 0;
  function* numbers(): Generator<number> {
    for (;;) yield ++pulled;
  }
  const { host, connection } = open(numbers());
  await settled();
  expect(pulled).toBe(0);
  connection.request(3);
  expect(host.messages).toEqual([]); // nothing is delivered from inside request
  await settled();
  expect(host.messages).toEqual([1, 2, 3]);
  expect(pulled).toBe(3);
  await connection.close();
});

test("iterableSource reads async iterables, one item at a time", async () => {
  async function* numbers(): AsyncGenerator<number> {
    for (let n = 0; n < 5_000; n++) {
      if (n % 1_000 === 0) await settled(1);
      yield n;
    }
  }
  const host = await readAll(iterableSource(numbers()));
  expect(host.messages).toEqual(Array.from({ length: 5_000 }, (_, n) => n));
});

test("iterableSource says what its iterable threw", async () => {
  const broken = new Error("broken pipe");
  async function* two(): AsyncGenerator<number> {
    yield 1;
    await Promise.reject(broken);
  }
  const { host, connection } = open(two());
  connection.request(10);
  await expect(host.over).rejects.toBe(broken);
  expect(host.messages).toEqual([1]);
});

test("iterableSource closes its iterator, and a generator's finally runs", async () => {
  let closed = false;
  function* numbers(): Generator<number> {
    try {
      for (let n = 1; ; n++) yield n;
    } finally {
      closed = true;
    }
  }
  const { host, connection } = open(numbers());
  connection.request(2);
  await settled();
  await connection.close();
  expect(closed).toBe(true);
  expect(host.messages).toEqual([1, 2]);
  expect(host.hasEnded).toBe(false);
});

test("iterableSource does not wait for an iterator's return, and hands a late item to aborted", async () => {
  const late = deferred<IteratorResult<string>>();
  const iterable: AsyncIterable<string> = {
    [Symbol.asyncIterator]: () => ({
      next: () => late.promise,
      return: () => new Promise(() => {}),
    }),
  };
  const { host, connection } = open(iterable);
  connection.request(1);
  await settled();
  await connection.close();
  expect(host.late).toEqual([]);
  late.resolve({ done: false, value: "too late" });
  await settled();
  expect(host.deliveries).toEqual([]);
  expect(host.late.map(({ message }) => message)).toEqual(["too late"]);
  void host.late[0]!.settle("dead");
});

test("iterableSource closed from within a generator's own step stops it all the same", async () => {
  let finished = false;
  const opened: { host: RecordingHost<number>; connection: SourceConnection } = open(numbers());
  function* numbers(): Generator<number> {
    try {
      yield 1;
      void opened.connection.close();
      yield 2;
    } finally {
      finished = true;
    }
  }
  opened.connection.request(5);
  await settled();
  expect(opened.host.messages).toEqual([1]);
  expect(opened.host.late.map(({ message }) => message)).toEqual([2]);
  expect(finished).toBe(true);
});

test("iterableSource lets what fails after closing be nobody's", async () => {
  const late = deferred<IteratorResult<string>>();
  const iterable: AsyncIterable<string> = {
    [Symbol.asyncIterator]: () => ({
      next: () => late.promise,
      return: () => Promise.reject(new Error("cannot return")),
    }),
  };
  const { host, connection } = open(iterable);
  connection.request(1);
  await settled();
  await connection.close();
  late.reject(new Error("cannot go on"));
  await settled();
  expect(host.failures).toEqual([]);
});

test("iterableSource runs its iterator in the context of whoever opened it", async () => {
  const storage = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  function* numbers(): Generator<number> {
    for (let n = 0; n < 3; n++) {
      seen.push(storage.getStore());
      yield n;
    }
  }
  const { host, connection } = storage.run("opener", () => open(numbers()));
  host.onDelivery = () => storage.run("handler", () => connection.request(1));
  storage.run("handler", () => connection.request(1));
  await settled();
  expect(seen).toEqual(["opener", "opener", "opener"]);
});

test("iterableSource lets the event loop have its turn in a long run of items", async () => {
  function* endless(): Generator<number> {
    for (let n = 0; ; n++) yield n;
  }
  const host = new RecordingHost<number>();
  const connection = iterableSource(endless()).open(host) as SourceConnection;
  connection.request(Infinity);
  host.onDelivery = () => void (host.deliveries.length = 0);
  await settled(3); // would never come otherwise
  await connection.close();
});

test("toSource gives a source as it is and says what it cannot consume", () => {
  const source = iterableSource([1]);
  expect(toSource(source)).toBe(source);
  expect(toSource(new Set([1])).name).toBe("iterable");
  expect(() => toSource("text" as never)).toThrow(
    "Cannot consume a string: pass a source, an iterable or an async iterable",
  );
  expect(() => toSource(function* generator() {} as never)).toThrow(
    "(call the generator function)",
  );
  expect(() => toSource(null as never)).toThrow("Cannot consume null");
});
