// Messages from sources: until the end, aborted, failing, from partitions that
// come and go, settled each or with their session.
import { expect, test } from "vitest";
import { memorySource, memorySourceOf, memoryStore } from "../broker/memory/index.ts";
import { deferred } from "../message/test-support/host.ts";
import type { Source } from "../message/source.ts";
import { CancelledError } from "../task/errors.ts";
import { createTask } from "../task/task.ts";
import { sleep } from "../task/sleep.ts";
import { InvalidMessageError } from "./errors.ts";
import { SessionRouter } from "./router.ts";
import { letterText, m, Rig, styles, type Message } from "./test-support/rig.ts";

test.for(styles)(
  "SessionRouter consumes any iterable, and is done when all it gave is handled (%s)",
  async (style) => {
    async function* later(): AsyncGenerator<Message> {
      yield m("a2", { work: 10 });
      yield m("b2");
    }
    const rig = new Rig(style);
    for (const input of [[m("a1"), m("b1", { work: 5 })], new Set([m("c1")]), later()]) {
      let consumed = false;
      const consuming = rig.router.consume(input).then(() => (consumed = true));
      await rig.clock.advance(4);
      expect(consumed).toBe(input instanceof Set);
      await rig.clock.advance(6);
      await consuming;
    }
    expect(rig.done).toEqual(["a1", "b1", "c1", "b2", "a2"]);
    expect(rig.router.statistics()).toMatchObject({ live: 3, held: { messages: 0 } });
  },
);

test("SessionRouter refuses to consume what is no source", async () => {
  const rig = new Rig("async");
  for (const input of ["text", 5, null, undefined, {}]) {
    await expect(rig.router.consume(input as never)).rejects.toThrow(TypeError);
  }
  await expect(rig.drain()).resolves.toMatchObject({ pending: 0 });
});

test("SessionRouter takes the source's key where it has none of its own, and says what it knows of a delivery", async () => {
  const rig = new Rig("async");
  const seen: unknown[] = [];
  const router = new SessionRouter({
    clock: rig.clock,
    message: (message: string, session) => void seen.push([session.key, message, session.delivery]),
  });
  const source = memorySourceOf([
    { message: "hello", key: "ada", headers: { lang: "en" }, attempt: 2 },
    { message: "hi", key: "bob" },
  ]);
  await router.consume(source);
  const common = { partition: "", headers: {}, redelivered: false, attempt: 1 };
  expect(seen).toEqual([
    [
      "ada",
      "hello",
      {
        id: "1",
        attempt: 2,
        partition: "",
        headers: { lang: "en" },
        idempotencyKey: "memory:1",
        redelivered: true,
      },
    ],
    ["bob", "hi", { ...common, id: "2", idempotencyKey: "memory:2" }],
  ]);
  await expect(router.send("nobody's")).rejects.toThrow(
    "Cannot route a message: its key must be a string or a finite number, and it is none: the source gave none, and the router was given no key option",
  );
});

test("SessionRouter takes a key that differs from the source's for invalid, compared as strings", async () => {
  const rig = new Rig("async");
  const router = new SessionRouter({
    clock: rig.clock,
    key: (message: { id: number }) => message.id,
    message() {},
  });
  const source = memorySourceOf([
    { message: { id: 1 }, key: "1" },
    { message: { id: 2 }, key: "3" },
    { message: { id: 3 } },
  ]);
  await router.consume(source);
  expect(source.outcomes.map(({ outcome }) => outcome)).toEqual(["dead", "done", "done"]);
  expect(source.outcomes[0]?.letter).toMatchObject({
    reason: "invalid",
    message: { id: 2 },
    attempts: 0,
  });
  expect(source.outcomes[0]?.letter?.error).toEqual(
    new InvalidMessageError('Cannot route a message: its key is 2, and its source says "3"'),
  );
  expect(router.statistics()).toMatchObject({ invalid: 1, deadLettered: 1, handled: 2 });
});

test("SessionRouter takes a live key from a second partition for invalid, until the key is free", async () => {
  const rig = new Rig("async", { idleMs: 100 });
  const source = await rig.consume([m("a1", { partition: "p" }), m("a2", { partition: "q" })], {
    partitions: (message) => message.partition ?? "p",
  });
  expect(rig.fates.toSorted()).toEqual(["a1 done", "a2 dead invalid"]);
  expect(source.outcomes.find(({ outcome }) => outcome === "dead")?.letter?.error).toEqual(
    new InvalidMessageError(
      'Cannot route a message of partition "q": its key "a" is live in partition "p"',
    ),
  );
  await rig.clock.advance(100);
  await rig.push(m("a3", { partition: "q" }));
  expect(rig.fates.at(-1)).toBe("a3 done");
});

test("SessionRouter takes a key of another kind than the first for invalid, and what is no key at all", async () => {
  const rig = new Rig("async");
  const router = new SessionRouter({
    clock: rig.clock,
    key: (message: { id: unknown }) => message.id as string,
    message() {},
  });
  for (const id of [undefined, null, NaN, Infinity, {}, true]) {
    await expect(router.send({ id })).rejects.toThrow(InvalidMessageError);
    expect(() => router.trySend({ id })).toThrow(InvalidMessageError);
    await expect(router.call({ id })).rejects.toThrow(InvalidMessageError);
  }
  await router.send({ id: "a" });
  await expect(router.send({ id: 1 })).rejects.toThrow(
    "Cannot route a message: this router's keys are strings, and its key is the number 1",
  );
  expect(router.statistics()).toMatchObject({ started: 1, invalid: 0, held: { messages: 0 } });
});

test.for(["key", "starts", "ends", "time"] as const)(
  "SessionRouter throws what %s throws to the sender, and takes a consumed message for invalid",
  async (option) => {
    const broken = new Error(`${option} is broken`);
    const rig = new Rig("async", {
      [option](message: Message) {
        if (message.name === "a1") throw broken;
        return option === "key" ? message.key : option === "time" ? 0 : option === "starts";
      },
    });
    expect(() => rig.router.trySend(m("a1"))).toThrow(broken);
    await expect(rig.router.send(m("a1"))).rejects.toThrow(broken);
    await expect(rig.router.call(m("a1"))).rejects.toThrow(broken);
    const source = await rig.consume([m("a1"), m("a2")]);
    source.end();
    await rig.consuming;
    expect(rig.fates).toEqual(["a1 dead invalid", "a2 done"]);
    expect(source.outcomes[0]?.letter?.error).toBe(broken);
    expect(rig.router.statistics()).toMatchObject({ invalid: 1, held: { messages: 0 } });
  },
);

test("SessionRouter dead-letters what the source could make no message of, with the source's error", async () => {
  const rig = new Rig("async");
  const router = new SessionRouter({ clock: rig.clock, key: () => "a", message() {} });
  const invalid = new Error("line 1 is not JSON");
  const source = memorySourceOf([{ message: "{", invalid }, { message: "{}" }]);
  await router.consume(source);
  expect(source.outcomes).toMatchObject([
    {
      outcome: "dead",
      letter: {
        reason: "invalid",
        error: invalid,
        message: "{",
        key: undefined,
        delivery: { id: "1" },
      },
    },
    { outcome: "done" },
  ]);
});

test.for(styles)(
  "SessionRouter reads no more when consume is aborted, and handles what was read (%s)",
  async (style) => {
    for (const how of ["signal", "cancel"] as const) {
      const rig = new Rig(style, { maxHeld: 3 });
      const source = memorySource(
        Array.from({ length: 9 }, (_, n) => m(`a${n + 1}`, { work: 10 })),
        { keepOpen: true },
      );
      const abort = new AbortController();
      const task = createTask(() => rig.router.consume(source, { signal: abort.signal }));
      await rig.clock.settle();
      if (how === "signal") abort.abort(new Error("enough"));
      else task.cancel();
      await expect(task).rejects.toThrow(how === "signal" ? new Error("enough") : CancelledError);
      await rig.clock.advance(1_000);
      expect(rig.done).toEqual(["a1", "a2", "a3"]);
      expect(source.outcomes.map(({ outcome }) => outcome)).toEqual(["done", "done", "done"]);
      expect(source.errors).toEqual([]);
      expect(rig.router.statistics().source).toBeUndefined();
      await rig.send(m("a4"));
      expect(rig.done).toHaveLength(4);
    }
  },
);

test("SessionRouter does not open a source for a consume that is aborted already", async () => {
  const rig = new Rig("async");
  let opened = false;
  const source: Source<Message> = {
    ...memorySource<Message>(),
    open() {
      opened = true;
      throw new Error("not here");
    },
  };
  const reason = new Error("before");
  await expect(rig.router.consume(source, { signal: AbortSignal.abort(reason) })).rejects.toBe(
    reason,
  );
  expect(opened).toBe(false);
});

test.for(styles)(
  "SessionRouter gives back what was not handled when consume of a source with partitions is aborted (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 50 });
    const source = memorySource([m("a1", { work: 10 }), m("a2"), m("b1", { work: 60 })], {
      keepOpen: true,
      partitions: (message) => message.key,
    });
    const abort = new AbortController();
    const consuming = rig.router.consume(source, { signal: abort.signal });
    await rig.clock.settle();
    abort.abort();
    await expect(consuming).rejects.toThrow("aborted");
    await rig.clock.advance(50);
    expect(
      source.outcomes.map(({ message, outcome }) => `${message.name} ${outcome}`).toSorted(),
    ).toEqual(["a1 done", "a2 release", "b1 release"]);
    expect(rig.ends).toEqual({ moved: 2 });
    expect(source.errors).toEqual([]);
  },
);

test("SessionRouter dead-letters as aborted what still comes from an iterable after the abort", async () => {
  const rig = new Rig("async");
  const next = deferred<IteratorResult<Message>>();
  let returned = false;
  const iterable: AsyncIterable<Message> = {
    [Symbol.asyncIterator]: () => ({
      next: () => next.promise,
      return: () => {
        returned = true;
        return new Promise(() => {});
      },
    }),
  };
  const abort = new AbortController();
  const consuming = rig.router.consume(iterable, { signal: abort.signal });
  await rig.clock.settle();
  abort.abort(new Error("enough"));
  await expect(consuming).rejects.toThrow("enough");
  expect(returned).toBe(true);
  next.resolve({ value: m("a1"), done: false });
  await rig.clock.settle();
  expect(rig.letters).toEqual(["a1 aborted"]);
  expect(rig.began).toEqual([]);
  expect(rig.router.statistics().held.messages).toBe(0);
});

test.for(styles)(
  "SessionRouter rejects consume with what the source failed with, once all it gave is settled (%s)",
  async (style) => {
    const rig = new Rig(style);
    const source = await rig.consume([m("a1", { work: 10 }), m("a2")]);
    source.fail(new Error("the engine broke"));
    let failed: unknown;
    void rig.consuming?.catch((error: unknown) => (failed = error));
    await rig.clock.advance(9);
    expect(failed).toBeUndefined();
    await rig.clock.advance(1);
    expect(failed).toEqual(new Error("the engine broke"));
    expect(rig.fates).toEqual(["a1 done", "a2 done"]);
    expect(rig.router.statistics()).toMatchObject({ live: 1, source: undefined });
    await rig.drain();
    expect(rig.ends).toEqual({ drained: 1 });
  },
);

test("SessionRouter rejects consume when a source cannot be opened, or an iterable throws", async () => {
  const rig = new Rig("async");
  const broken = new Error("cannot connect");
  for (const open of [
    () => Promise.reject(broken),
    () => {
      throw broken;
    },
  ]) {
    const source = {
      ...memorySource<Message>(),
      capabilities: memorySource().capabilities,
      name: "broken",
      open,
    };
    await expect(rig.router.consume(source as Source<Message>)).rejects.toBe(broken);
  }
  async function* throwing(): AsyncGenerator<Message> {
    yield m("a1");
    throw broken;
  }
  await expect(rig.router.consume(throwing())).rejects.toBe(broken);
  expect(rig.done).toEqual(["a1"]);
  expect(rig.router.statistics().source).toBeUndefined();
});

test.for(styles)(
  "SessionRouter hands held messages over when a source with event time fails or is aborted (%s)",
  async (style) => {
    for (const how of ["fail", "abort"] as const) {
      const rig = new Rig(style, { time: (message) => message.time ?? 0, latenessMs: 1_000 });
      const source = memorySource([m("a2", { time: 20 }), m("a1", { time: 10 })], {
        keepOpen: true,
      });
      const abort = new AbortController();
      const consuming = rig.router.consume(source, { signal: abort.signal });
      await rig.clock.settle();
      expect(rig.began).toEqual([]);
      const reason = new Error("enough");
      if (how === "fail") source.fail(reason);
      else abort.abort(reason);
      await expect(consuming).rejects.toBe(reason);
      await rig.clock.settle();
      expect(rig.done).toEqual(["a1", "a2"]);
      expect(rig.router.statistics().held.messages).toBe(0);
      expect(rig.told).toEqual([]);
    }
  },
);

test.for(styles)(
  "SessionRouter settles each delivery exactly once, and consume waits for the settling (%s)",
  async (style) => {
    const rig = new Rig(style);
    const gate = deferred<void>();
    const source = await rig.consume([m("a1"), m("a2")], { settling: () => gate.promise });
    source.end();
    let consumed = false;
    void rig.consuming?.then(() => (consumed = true));
    await rig.clock.settle();
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(consumed).toBe(false);
    gate.resolve();
    await rig.clock.settle();
    expect(consumed).toBe(true);
    expect(rig.fates).toEqual(["a1 done", "a2 done"]);
  },
);

test.for(styles)(
  "SessionRouter reports a delivery that cannot be settled, and goes on (%s)",
  async (style) => {
    const rig = new Rig(style);
    const source = await rig.consume([m("a1"), m("a2")], {
      settling({ message }) {
        if (message.name === "a1") throw new Error("no connection");
      },
    });
    source.end();
    await rig.consuming;
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.problems).toEqual(["Cannot settle delivery 1 as done: Error: no connection"]);
  },
);

test.for(styles)(
  "SessionRouter shows its sources in the statistics while there are any (%s)",
  async (style) => {
    const rig = new Rig(style);
    expect(rig.router.statistics().source).toBeUndefined();
    const source = await rig.consume([m("a1")], { partitions: (message) => message.key });
    expect(rig.router.statistics().source).toEqual({ connected: true, partitions: 1 });
    source.connected = false;
    expect(rig.router.statistics().source).toEqual({ connected: false, partitions: 1 });
    await source.revoke("a");
    expect(rig.router.statistics().source).toEqual({ connected: false, partitions: 0 });
    source.end();
    await rig.consuming;
    await rig.clock.settle();
    expect(rig.router.statistics().source).toBeUndefined();
  },
);

test.for(styles)(
  "SessionRouter starts nothing more of a partition that is handed over, while others go on (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 100 });
    const source = await rig.consume(
      [m("a1", { work: 30 }), m("a2"), m("b1", { work: 30 }), m("b2"), m("c1")],
      { partitions: (message) => (message.key === "b" ? "q" : "p") },
    );
    const revoked = source.revoke("p");
    await rig.clock.advance(30);
    await revoked;
    await rig.clock.settle();
    expect(rig.done.toSorted()).toEqual(["a1", "b1", "b2", "c1"]);
    expect(rig.ends).toEqual({ moved: 2 });
    expect(rig.fates.toSorted()).toEqual([
      "a1 done",
      "a2 release",
      "b1 done",
      "b2 done",
      "c1 done",
    ]);
    expect(source.redeliver()).toBe(1);
    await rig.clock.settle();
    expect(rig.done).toContain("a2");
    expect(source.errors).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter settles nothing of a partition that was lost, and stops its sessions at once (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 1_000 });
    const source = await rig.consume([m("a1", { work: 100 }), m("a2"), m("b1")], {
      partitions: (message) => message.key,
    });
    await source.revoke("a", "lost");
    expect(rig.clock.now()).toBe(1_000_000);
    expect(rig.log).toContain("a1 cancelled");
    expect(rig.told).toEqual(["stopped a moved"]);
    expect(rig.fates).toEqual(["b1 done"]);
    expect(rig.router.statistics()).toMatchObject({ live: 1, held: { messages: 0 } });
    source.redeliver();
    await rig.clock.advance(100);
    expect(rig.done).toEqual(["b1", "a1", "a2"]);
    expect(source.errors).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter gives a partition away in spite of a handler that ignores it, and settles nothing of it later (%s)",
  async (style) => {
    for (const ack of ["message", "session"] as const) {
      const rig = new Rig(style, { graceMs: 50, ack, idleMs: 1e9 });
      const source = await rig.consume([m("a1"), m("a2", { deaf: 1_000 })], {
        partitions: (message) => message.key,
      });
      const revoked = source.revoke("a");
      await rig.clock.advance(100);
      await revoked;
      expect(rig.problems).toHaveLength(1);
      expect(rig.router.statistics()).toMatchObject({ overdue: 1, held: { messages: 0 } });
      expect(rig.fates.toSorted()).toEqual([
        ack === "message" ? "a1 done" : "a1 release",
        "a2 release",
      ]);
      await rig.clock.advance(1_000);
      expect(rig.fates).toHaveLength(2);
      expect(rig.ends).toEqual({ moved: 1 });
      expect(source.errors).toEqual([]);
      expect(rig.problems).toHaveLength(1);
    }
  },
);

test.for(styles)(
  "SessionRouter gives a partition away although ended takes for ever (%s)",
  async (style) => {
    const rig = new Rig(style, {
      graceMs: 50,
      ended: () => sleep(1e9),
    });
    const source = await rig.consume([m("a1", { end: true }), m("a2")], {
      partitions: (message) => message.key,
    });
    const revoked = source.revoke("a");
    await rig.clock.advance(100);
    await revoked;
    expect(rig.fates).toEqual(["a1 done", "a2 release"]);
    expect(rig.router.statistics()).toMatchObject({ live: 0, overdue: 0 });
  },
);

test.for(styles)(
  "SessionRouter gives sessions the fence of their partition, which grows with each owner (%s)",
  async (style) => {
    const fences: unknown[] = [];
    const rig = new Rig(style, {
      work(message, session) {
        fences.push([message.name, session.fence]);
      },
    });
    const source = await rig.consume([m("a1"), m("b1")], { partitions: (message) => message.key });
    await source.revoke("a");
    source.assign("a");
    await rig.push(m("a2"));
    expect(fences).toEqual([
      ["a1", 1n],
      ["b1", 2n],
      ["a2", 3n],
    ]);
  },
);

test.for(styles)(
  "SessionRouter with ack session settles a session's deliveries when it is over (%s)",
  async (style) => {
    const rig = new Rig(style, { ack: "session" });
    await rig.consume([m("a1"), m("a2"), m("b1")]);
    expect(rig.done.toSorted()).toEqual(["a1", "a2", "b1"]);
    expect(rig.fates).toEqual([]);
    expect(rig.router.statistics()).toMatchObject({ handled: 3, held: { messages: 0 } });
    await rig.push(m("a3", { end: true }));
    expect(rig.fates).toEqual(["a1 done", "a2 done", "a3 done"]);
  },
);

test.for(styles)(
  "SessionRouter with ack session settles a dead-lettered delivery at once (%s)",
  async (style) => {
    const rig = new Rig(style, { ack: "session", attempts: 1, onExhausted: "deadLetter" });
    await rig.consume([m("a1"), m("a2", { fails: 1 }), m("a3")]);
    expect(rig.fates).toEqual(["a2 dead exhausted"]);
    await rig.push(m("a4", { end: true }));
    expect(rig.fates.slice(1)).toEqual(["a1 done", "a3 done", "a4 done"]);
  },
);

test.for(styles)(
  "SessionRouter with ack session settles what failed, was cancelled, idle or evicted as done (%s)",
  async (style) => {
    for (const end of ["failed", "cancelled", "idle", "evicted"] as const) {
      const rig = new Rig(style, {
        ack: "session",
        attempts: 1,
        onExhausted: "end",
        idleMs: 100,
        maxLive: 1,
        ...(end === "evicted" ? { evict: "idlest" } : {}),
      });
      await rig.consume([m("a1")]);
      expect(rig.fates).toEqual([]);
      if (end === "failed") await rig.push(m("a2", { fails: 1 }));
      else if (end === "cancelled") rig.router.cancel("a");
      else if (end === "idle") await rig.clock.advance(100);
      else await rig.push(m("b1"));
      await rig.clock.settle();
      expect(rig.fates).toContain("a1 done");
      expect(rig.ends).toEqual({ [end]: 1 });
    }
  },
);

test.for(styles)(
  "SessionRouter with ack session gives a session back when it is moved or drained (%s)",
  async (style) => {
    for (const how of ["moved", "drained"] as const) {
      const rig = new Rig(style, { ack: "session" });
      const source = await rig.consume(
        [m("a1"), m("a2")],
        how === "moved" ? { partitions: (message) => message.key } : {},
      );
      if (how === "moved") await source.revoke("a");
      else expect(await rig.drain()).toMatchObject({ released: 2 });
      expect(rig.fates).toEqual(["a1 release", "a2 release"]);
      expect(rig.ends).toEqual({ [how]: 1 });
      expect(source.errors).toEqual([]);
      if (how === "drained") continue;
      source.redeliver();
      await rig.clock.settle();
      expect(rig.done).toEqual(["a1", "a2", "a1", "a2"]);
    }
  },
);

test.for(styles)(
  "SessionRouter with ack session ends the sessions of a source that has ended as sourceEnded, and those alone (%s)",
  async (style) => {
    const rig = new Rig(style, { ack: "session" });
    await rig.send(m("b1"));
    const source = await rig.consume([m("a1", { work: 10 }), m("a2")]);
    source.end();
    await rig.clock.advance(10);
    await rig.consuming;
    expect(rig.told).toEqual(["ended a sourceEnded"]);
    expect(rig.fates).toEqual(["a1 done", "a2 done"]);
    expect(rig.router.statistics().live).toBe(1);
  },
);

test.for(styles)(
  "SessionRouter lets sessions live on after consume otherwise (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.router.consume([m("a1")]);
    await rig.router.consume([m("a2")]);
    expect(rig.router.statistics()).toMatchObject({ live: 1, started: 1, handled: 2 });
    expect(rig.told).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter rejects consume, and does not resolve it, when a source with ack session has failed and the router drains (%s)",
  async (style) => {
    const rig = new Rig(style, { ack: "session" });
    const source = await rig.consume([m("a1")]);
    source.fail(new Error("the engine broke"));
    await rig.clock.settle();
    await rig.drain();
    await expect(rig.consuming).rejects.toThrow("the engine broke");
  },
);

test.for(styles)(
  "SessionRouter uses the source's store, unless it was given one (%s)",
  async (style) => {
    for (const given of [false, true]) {
      const [own, theirs] = [memoryStore(), memoryStore()];
      const rig = new Rig(style, {
        ...(given ? { store: own } : {}),
        work: (_message, session) => session.save({ saved: true }),
      });
      await rig.consume([m("a1")], { store: theirs });
      expect(own.states.size).toBe(given ? 1 : 0);
      expect(theirs.states.size).toBe(given ? 0 : 1);
    }
  },
);

test("SessionRouter keeps the letters of an iterable itself, with where each came from", async () => {
  const rig = new Rig("async", { starts: (message) => message.start === true });
  await rig.router.consume([m("a1"), m("b1", { start: true })]);
  expect(rig.letters).toEqual(["a1 late"]);
  expect(rig.router.letters().map(letterText)).toEqual(["a1 late"]);
  expect(rig.router.letters()[0]?.delivery).toMatchObject({ id: "1", partition: "" });
});
