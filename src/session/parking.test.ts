// `onExhausted: "park"`: a key that waits for somebody to mend it, and is in
// nobody's way meanwhile.
import { expect, test } from "vitest";
import { m, Rig, styles, type RigOptions } from "./test-support/rig.ts";

const park: RigOptions = { attempts: 2, retryDelayMs: () => 0, onExhausted: "park" };

test.for(styles)(
  "SessionRouter parks an exhausted key, and resume tries its message first, counted anew (%s)",
  async (style) => {
    const tries: string[] = [];
    let mended = false;
    const rig = new Rig(style, {
      ...park,
      work(message, session) {
        tries.push(`${message.name} try ${session.delivery?.attempt}`);
        if (message.name === "a1" && !mended) throw new Error("broken");
      },
    });
    await rig.consume([m("a1"), m("a2"), m("b1")]);
    await rig.clock.advance(0);
    expect(tries).toEqual(["a1 try 1", "b1 try 1", "a1 try 2"]);
    expect(rig.router.statistics()).toMatchObject({ parked: 1, deadLettered: 0, queued: 2 });
    await rig.clock.advance(1_000_000);
    await rig.push(m("a3"));
    expect(tries).toHaveLength(3);
    mended = true;
    expect(rig.router.resume("a")).toBe(true);
    expect(rig.router.statistics().parked).toBe(0);
    await rig.clock.settle();
    expect(tries.slice(3)).toEqual(["a1 try 1", "a2 try 1", "a3 try 1"]);
    expect(rig.fates).toEqual(["b1 done", "a1 done", "a2 done", "a3 done"]);
    expect(rig.router.resume("a")).toBe(false);
    expect(rig.router.resume("c")).toBe(false);
  },
);

test.for(styles)("SessionRouter parks a key again that fails again (%s)", async (style) => {
  const rig = new Rig(style, park);
  await rig.consume([m("a1", { fails: 9 })]);
  await rig.clock.advance(0);
  rig.router.resume("a");
  await rig.clock.advance(0);
  expect(rig.began).toEqual(["a1", "a1", "a1", "a1"]);
  expect(rig.router.statistics()).toMatchObject({ parked: 1, deadLettered: 0 });
  expect(rig.router.why("a")).toContain("parked, until resume");
});

test.for(styles)(
  "SessionRouter holds inboxSize messages of a parked key; what follows becomes dead letters (%s)",
  async (style) => {
    const rig = new Rig(style, { ...park, inboxSize: 2 });
    await rig.consume([m("a1", { fails: 2 }), m("a2"), m("a3"), m("a4")]);
    await rig.clock.advance(0);
    await rig.push(m("a5"));
    expect(rig.fates).toEqual(["a4 dead parked", "a5 dead parked"]);
    rig.router.resume("a");
    await rig.clock.settle();
    expect(rig.fates.slice(2)).toEqual([]);
    await rig.clock.advance(0);
    expect(rig.began.slice(2)).toEqual(["a1", "a1"]);
  },
);

test.for(styles)("SessionRouter lets senders of a parked key go on (%s)", async (style) => {
  const rig = new Rig(style, { ...park, inboxSize: 1, attempts: 2, retryDelayMs: () => 10 });
  const sent: string[] = [];
  for (const message of [m("a1", { fails: 2 }), m("a2"), m("a3")]) {
    void rig.router.send(message).then(() => sent.push(message.name));
  }
  await rig.clock.settle();
  expect(sent).toEqual(["a1", "a2"]);
  await rig.clock.advance(10);
  expect(sent).toEqual(["a1", "a2", "a3"]);
  expect(rig.letters).toEqual(["a3 parked"]);
  expect(rig.router.trySend(m("a4"))).toBe(true);
  expect(rig.letters).toEqual(["a3 parked", "a4 parked"]);
});

test.for(styles)(
  "SessionRouter does not let a parked key hold up join, consume or maxHeld (%s)",
  async (style) => {
    const rig = new Rig(style, { ...park, attempts: 1, maxHeld: 3, inboxSize: 10 });
    const source = await rig.consume([
      m("a1", { fails: 1 }),
      m("a2"),
      m("a3"),
      m("a4"),
      m("b1"),
      m("b2"),
      m("b3"),
    ]);
    source.end();
    await rig.clock.settle();
    await rig.router.join();
    await rig.consuming;
    expect(rig.done).toEqual(["b1", "b2", "b3"]);
    expect(rig.router.statistics()).toMatchObject({ parked: 1, held: { messages: 0 }, queued: 4 });
    rig.router.resume("a");
    await rig.router.join();
    expect(rig.fates.slice(3)).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter gives parked messages back to a source with partitions when it drains (%s)",
  async (style) => {
    const rig = new Rig(style, { ...park, attempts: 1 });
    await rig.consume([m("a1", { fails: 1 }), m("a2")], { partitions: () => "p" });
    const report = await rig.drain();
    expect(rig.fates.toSorted()).toEqual(["a1 release", "a2 release"]);
    expect(report).toEqual({ pending: 0, ignored: [], parked: 2, deadLettered: 0, released: 2 });
    expect(rig.told).toHaveLength(1);
    expect(rig.source?.errors).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter dead-letters parked messages as drained otherwise (%s)",
  async (style) => {
    const rig = new Rig(style, { ...park, attempts: 1 });
    await rig.consume([m("a1", { fails: 1 }), m("a2")]);
    const report = await rig.drain();
    expect(rig.fates.toSorted()).toEqual(["a1 dead drained", "a2 dead drained"]);
    expect(report).toEqual({ pending: 0, ignored: [], parked: 2, deadLettered: 2, released: 0 });
    expect(rig.told).toEqual(["stopped a drained"]);
  },
);

test.for(styles)(
  "SessionRouter gives a parked key's messages back when its partition moves (%s)",
  async (style) => {
    const rig = new Rig(style, { ...park, attempts: 1 });
    const source = await rig.consume([m("a1", { fails: 1 }), m("a2")], { partitions: () => "p" });
    await source.revoke("p");
    expect(rig.fates.toSorted()).toEqual(["a1 release", "a2 release"]);
    expect(rig.told).toEqual(["stopped a moved"]);
    expect(rig.router.statistics()).toMatchObject({ parked: 0, live: 0, held: { messages: 0 } });
    expect(source.errors).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter gives a message back that is exhausted while its partition moves, and does not park it (%s)",
  async (style) => {
    const rig = new Rig(style, { ...park, attempts: 1 });
    const source = await rig.consume([m("a1", { work: 10, fails: 1 })], { partitions: () => "p" });
    const revoked = source.revoke("p");
    await rig.clock.advance(10);
    await revoked;
    expect(rig.fates).toEqual(["a1 release"]);
    expect(rig.told).toEqual(["stopped a moved"]);
  },
);

test.for(styles)(
  "SessionRouter cancels a parked session: its message is given up, what waits is the next one's (%s)",
  async (style) => {
    const rig = new Rig(style, { ...park, attempts: 1 });
    await rig.consume([m("a1", { fails: 1 }), m("a2")]);
    expect(rig.router.cancel("a")).toBe(true);
    await rig.clock.settle();
    expect(rig.fates).toEqual(["a1 dead cancelled", "a2 done"]);
    expect(rig.router.statistics()).toMatchObject({ parked: 0, held: { messages: 0 } });
  },
);

test.for(styles)("SessionRouter does not end a parked key as idle (%s)", async (style) => {
  const rig = new Rig(style, { ...park, attempts: 1, idleMs: 10 });
  await rig.consume([m("a1", { fails: 1 })]);
  await rig.clock.advance(1_000);
  expect(rig.router.statistics()).toMatchObject({ parked: 1, live: 1 });
  expect(rig.told).toEqual([]);
});
