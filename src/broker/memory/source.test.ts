import { expect, test } from "vitest";
import { guardSource } from "../../message/guard.ts";
import type { DeadLetter } from "../../message/delivery.ts";
import type { SourceConnection } from "../../message/source.ts";
import { deferred, readAll, RecordingHost, settled } from "../../message/test-support/host.ts";
import {
  memorySink,
  memorySource,
  memorySourceOf,
  memoryStore,
  type MemorySource,
} from "./index.ts";

interface Event {
  readonly user: string;
  readonly n: number;
}

const events: readonly Event[] = [
  { user: "ada", n: 1 },
  { user: "bob", n: 2 },
  { user: "ada", n: 3 },
  { user: "bob", n: 4 },
];

function letter(message: unknown): DeadLetter {
  return {
    message,
    key: "k",
    reason: "exhausted",
    error: new Error("no"),
    attempts: 5,
    at: 0,
    history: [],
  };
}

async function open<M>(
  source: MemorySource<M>,
): Promise<{ host: RecordingHost<M>; connection: SourceConnection }> {
  const host = new RecordingHost<M>();
  const connection = await guardSource(source).open(host);
  await settled();
  return { host, connection };
}

test("memorySource hands its messages over in order and keeps what became of each", async () => {
  const source = memorySource(events, { key: ({ user }) => user });
  const { host, connection } = await open(source);
  connection.request(2);
  await settled();
  expect(host.messages).toEqual(events.slice(0, 2));
  expect(host.deliveries[0]).toMatchObject({ id: "1", key: "ada", attempt: 1, redelivered: false });
  expect(source.unsettled).toBe(2);
  const dead = letter(events[1]);
  void host.deliveries[1]!.settle("dead", dead);
  void host.deliveries[0]!.settle("done");
  expect(source.outcomes).toEqual([
    { id: "2", message: events[1], partition: "", attempt: 1, outcome: "dead", letter: dead },
    { id: "1", message: events[0], partition: "", attempt: 1, outcome: "done" },
  ]);
  expect(host.hasEnded).toBe(false);
  connection.request(10);
  await settled();
  expect(host.hasEnded).toBe(true);
  expect(source.errors).toEqual([]);
});

test("memorySource reads an endless iterable only as far as it is asked to", async () => {
  let made = 0;
  function* numbers(): Generator<number> {
    for (;;) yield ++made;
  }
  const { host, connection } = await open(memorySource(numbers()));
  connection.request(3);
  await settled();
  expect(host.messages).toEqual([1, 2, 3]);
  expect(made).toBeLessThanOrEqual(4); // one ahead, to know whether there is more
});

test("memorySource stays open for push until it is ended", async () => {
  const source = memorySource([1], { keepOpen: true });
  const { host, connection } = await open(source);
  connection.request(10);
  source.push(2, 3);
  await settled();
  expect(host.messages).toEqual([1, 2, 3]);
  expect(host.hasEnded).toBe(false);
  source.end();
  await settled();
  expect(host.hasEnded).toBe(true);
  expect(() => source.push(4)).toThrow("Cannot push to memory");
});

test("memorySource is strict: settling twice is an error that is thrown and kept", async () => {
  const source = memorySource([1]);
  const host = new RecordingHost<number>();
  const connection = await source.open(host);
  connection.request(1);
  await settled();
  void host.deliveries[0]!.settle("done");
  const message = `Cannot settle 1 of memory as "release": it is settled as "done" already`;
  expect(() => host.deliveries[0]!.settle("release")).toThrow(message);
  expect(source.errors).toEqual([new Error(message)]);
  expect(source.outcomes).toHaveLength(1);
});

test("memorySource keeps all messages of a key in one partition, and gives credit by partition", async () => {
  const source = memorySource(events, { key: ({ user }) => user, partitions: 4 });
  const { host, connection } = await open(source);
  expect(host.partitions.map(({ id }) => id)).toEqual(["0", "1", "2", "3"]);
  expect(host.partitions.map(({ fence }) => fence)).toEqual([1n, 2n, 3n, 4n]);
  for (const { id } of host.partitions) connection.request(1, id);
  await settled();
  expect(host.messages.map(({ n }) => n)).toEqual([1, 2]);
  const partitionOf = new Map(
    host.deliveries.map(({ message, partition }) => [message.user, partition]),
  );
  connection.request(1, partitionOf.get("bob")!);
  await settled();
  expect(host.messages.map(({ n }) => n)).toEqual([1, 2, 4]);
});

test("memorySource redelivers what was released, in order, with the attempt counted up", async () => {
  const source = memorySource([1, 2, 3, 4]);
  const first = await open(source);
  first.connection.request(3);
  await settled();
  void first.host.deliveries[0]!.settle("done");
  void first.host.deliveries[2]!.settle("release");
  await first.connection.close(); // 2 was never settled
  expect(source.waiting).toBe(3);
  expect(source.redeliver()).toBe(2);

  const second = await readAll(guardSource(source));
  expect(second.messages).toEqual([2, 3, 4]);
  expect(second.deliveries.map(({ attempt }) => attempt)).toEqual([2, 2, 1]);
  expect(second.deliveries.map(({ redelivered }) => redelivered)).toEqual([true, true, false]);
  expect(second.deliveries[0]!.idempotencyKey).toBe("memory:2");
  expect(source.errors).toEqual([]);
});

test("memorySource takes a partition away once its host has let go of it", async () => {
  const source = memorySource(["a1", "b1", "a2"], {
    partitions: (message) => message.charAt(0),
    keepOpen: true,
  });
  const { host, connection } = await open(source);
  connection.request(5, "a");
  connection.request(5, "b");
  await settled();
  expect(host.messages).toEqual(["a1", "b1", "a2"]);
  host.onRevoked = async () => {
    await host.deliveries[0]!.settle("done");
    await host.deliveries[2]!.settle("release");
  };
  await source.revoke("a");
  expect(host.revocations).toEqual(["a: rebalanced"]);
  expect(source.outcomes.map(({ message, outcome }) => `${message} ${outcome}`)).toEqual([
    "a1 done",
    "a2 release",
  ]);

  source.push("a3");
  await settled();
  expect(host.messages).toHaveLength(3); // not while it is away
  expect(source.redeliver()).toBe(1);
  await settled();
  expect(host.partitions.at(-1)).toEqual({ id: "a", fence: 3n });
  connection.request(5, "a");
  await settled();
  expect(host.messages).toEqual(["a1", "b1", "a2", "a2", "a3"]);
  expect(source.errors).toEqual([]);
});

test("memorySource refuses to settle what was lost", async () => {
  const source = memorySource(["a1"], { partitions: () => "a", keepOpen: true });
  const host = new RecordingHost<string>();
  const connection = await source.open(host); // without the guard, which would refuse first
  await settled();
  connection.request(5, "a");
  await settled();
  await source.revoke("a", "lost");
  expect(() => host.deliveries[0]!.settle("done")).toThrow(
    `Cannot settle 1 of memory as "done": partition "a" was lost`,
  );
  expect(source.outcomes).toEqual([]);
  expect(source.redeliver()).toBe(1);
});

test("memorySource waits for what settling gives, and fails the settle when the partition went meanwhile", async () => {
  const stored = deferred<void>();
  const source = memorySource(["a1"], {
    partitions: () => "a",
    keepOpen: true,
    settling: () => stored.promise,
  });
  const host = new RecordingHost<string>();
  const connection = await source.open(host);
  await settled();
  connection.request(5, "a");
  await settled();
  const settling = host.deliveries[0]!.settle("done");
  expect(source.outcomes).toEqual([]);
  await source.revoke("a", "lost");
  stored.resolve();
  await expect(settling).rejects.toThrow(`partition "a" was lost`);
  expect(source.outcomes).toEqual([]);
});

test("memorySource cannot keep dead letters when it says so", async () => {
  const source = memorySource([1], { deadLetters: false, durable: false });
  expect(source.capabilities).toEqual({
    partitions: false,
    credit: "source",
    durable: false,
    deadLetters: false,
  });
  const { host, connection } = await open(source);
  connection.request(1);
  await settled();
  expect(() => host.deliveries[0]!.settle("dead", letter(1))).toThrow(
    "it cannot keep dead letters",
  );
});

test("memorySource tells its host when it fails", async () => {
  const source = memorySource([1], { keepOpen: true });
  const { host } = await open(source);
  const broken = new Error("no connection");
  source.fail(broken);
  await expect(host.over).rejects.toBe(broken);
});

test("memorySourceOf takes keys, partitions, headers and attempts from its entries", async () => {
  const source = memorySourceOf(
    [{ message: "m", key: 7, partition: "p", headers: { trace: "1" }, attempt: 3 }],
    { partitions: () => "never asked" },
  );
  const { host, connection } = await open(source);
  connection.request(1, "p");
  await settled();
  expect(host.deliveries[0]).toMatchObject({
    message: "m",
    key: 7,
    partition: "p",
    headers: { trace: "1" },
    attempt: 3,
    redelivered: true,
  });
});

test.for([0, 1.5, NaN])("memorySource refuses %d partitions", (partitions) => {
  expect(() => memorySource([], { partitions })).toThrow(
    `Cannot make memory: partitions must be a whole number >= 1, current value is ${partitions}`,
  );
});

test("memoryStore copies states and hands out growing fences", () => {
  const store = memoryStore();
  const state = { turns: 1 };
  store.save("k", state);
  state.turns = 2;
  expect(store.load("k")).toEqual({ turns: 1 });
  expect([store.fence("k"), store.fence("k"), store.fence("other")]).toEqual([1n, 2n, 1n]);
  store.delete("k");
  expect(store.states.size).toBe(0);
  expect(() => store.save("k", () => {})).toThrow();
});

test("memorySink collects what is written until it is closed", async () => {
  const sink = memorySink<number>({
    writing: (value) => {
      if (value === 2) throw new Error("full");
    },
  });
  await sink.write(1);
  expect(() => sink.write(2)).toThrow("full");
  await sink.close();
  expect(() => sink.write(3)).toThrow("Cannot write to memory: it is closed");
  expect(sink.values).toEqual([1]);
});
