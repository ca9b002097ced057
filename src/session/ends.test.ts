// The table "How a session ends", row by row, in every handler style: whether
// it was over, what becomes of the message in hand and of what is queued, who
// is told, and how the loop ends.
import { expect, test } from "vitest";
import { memorySource } from "../broker/memory/index.ts";
import { allTasks } from "../task/live.ts";
import { sleep, sleepForever } from "../task/sleep.ts";
import type { EndReason } from "./options.ts";
import { SessionRouter } from "./router.ts";
import { m, Rig, styles, type Message } from "./test-support/rig.ts";

const loopEnds = { over: ["a over", "a finally"], stopped: ["a cancelled", "a finally"] };

test.for(styles)(
  "SessionRouter ends a session as ended with its end message (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.consume([m("a1"), m("a2", { end: true }), m("a3")]);
    expect(rig.log.filter((line) => line !== "a finally" && line !== "a over")).toEqual([
      "a1",
      "a2",
      "ended a ended",
      "a3",
    ]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.over);
    expect(rig.fates).toEqual(["a1 done", "a2 done", "a3 done"]);
    expect(rig.ends).toEqual({ ended: 1 });
    expect(rig.router.statistics()).toMatchObject({
      live: 1,
      started: 2,
      handled: 3,
      deadLettered: 0,
    });
  },
);

test.for(styles)(
  "SessionRouter tells ended only when the handler has finished (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1", { end: true, work: 10 }), m("a2"));
    await rig.clock.advance(9);
    expect(rig.told).toEqual([]);
    expect(rig.began).toEqual(["a1"]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended a ended"]);
    expect(rig.began).toEqual(["a1", "a2"]);
  },
);

test.for(styles)(
  "SessionRouter ends a session that asked for it after the message in hand (%s)",
  async (style) => {
    const rig = new Rig(style, {
      work(message, session) {
        if (message.name === "a1") session.end();
      },
    });
    await rig.consume([m("a1", { work: 10 }), m("a2")]);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.told).toEqual(["ended a ended"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.over);
    expect(rig.fates).toEqual(["a1 done", "a2 done"]);
    expect(rig.ends).toEqual({ ended: 1 });
  },
);

test.for(styles)(
  "SessionRouter ends a quiet session at once when it is asked to (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1"));
    const session = rig.router.session("a");
    session?.end();
    await rig.clock.settle();
    expect(rig.told).toEqual(["ended a ended"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.over);
    expect(session?.endReason).toBe("ended");
    expect(rig.router.statistics().live).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter ends a session that asks while a message is to be tried again after that try (%s)",
  async (style) => {
    const rig = new Rig(style, {
      work(_message, session) {
        session.end();
      },
      attempts: 2,
      retryDelayMs: () => 10,
    });
    await rig.send(m("a1", { fails: 1 }), m("a2"));
    expect(rig.told).toEqual([]);
    await rig.clock.advance(10);
    expect(rig.told[0]).toBe("ended a ended");
    expect(rig.log.indexOf("ended a ended")).toBeLessThan(rig.log.indexOf("a2"));
    expect(rig.done).toEqual(["a1", "a2"]);
  },
);

test("SessionRouter ends a loop as returned when its handler leaves it", async () => {
  const rig = new Rig("loop");
  const names: string[] = [];
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    async session(session) {
      for await (const message of session) {
        names.push(message.name);
        if (message.name === "a2") break;
      }
      names.push("left");
    },
    ended: (session, reason) => names.push(`ended ${session.key} ${reason}`),
  });
  const source = memorySource([m("a1"), m("a2"), m("a3")], { keepOpen: true });
  void router.consume(source);
  await rig.clock.settle();
  expect(names).toEqual(["a1", "a2", "left", "ended a returned", "a3"]);
  expect(source.outcomes.map(({ outcome }) => outcome)).toEqual(["done", "done", "done"]);
  expect(router.statistics().ended).toMatchObject({ returned: 1 });
  expect(router.statistics().started).toBe(2);
});

test("SessionRouter counts a session whose loop has asked for its end and returns as ended", async () => {
  const rig = new Rig("loop");
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    async session(session) {
      await session.receive();
      session.end();
    },
  });
  void router.send(m("a1"));
  await rig.clock.settle();
  expect(router.statistics().ended).toMatchObject({ ended: 1, returned: 0 });
});

test("SessionRouter takes a handler that returns without asking for a message as having handled its first one", async () => {
  const rig = new Rig("loop");
  let calls = 0;
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    async session() {
      calls++;
    },
  });
  void router.send(m("a1"));
  void router.send(m("a2"));
  await rig.clock.settle();
  expect(calls).toBe(2);
  expect(router.statistics()).toMatchObject({ handled: 2, live: 0, ended: { returned: 2 } });
});

test.for(styles)(
  "SessionRouter ends a quiet session as idle, and its loop normally (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 100 });
    await rig.consume([m("a1")]);
    await rig.clock.advance(99);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended a idle"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.over);
    expect(rig.fates).toEqual(["a1 done"]);
    expect(rig.ends).toEqual({ idle: 1 });
    expect(rig.router.statistics().live).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter ends the sessions of sources that have ended by themselves as sourceEnded, at the drain (%s)",
  async (style) => {
    const rig = new Rig(style);
    const source = await rig.consume([m("a1"), m("b1")]);
    source.end();
    await rig.consuming;
    expect(rig.told).toEqual([]);
    expect(rig.router.statistics().live).toBe(2);
    await rig.drain();
    expect(rig.told).toEqual(["ended a sourceEnded", "ended b sourceEnded"]);
    if (style === "loop") expect(rig.loops).toContain("a over");
    expect(rig.loops).not.toContain("a cancelled");
    expect(rig.ends).toEqual({ sourceEnded: 2 });
  },
);

test.for(styles)(
  "SessionRouter handles what came before a start, ends as replaced, and starts anew (%s)",
  async (style) => {
    const rig = new Rig(style, {
      starts: (message) => message.start === true,
      duplicateStart: "replace",
    });
    await rig.consume([
      m("a1", { start: true, work: 5 }),
      m("a2"),
      m("a3", { start: true }),
      m("a4"),
    ]);
    await rig.clock.advance(5);
    expect(rig.log.filter((line) => !line.includes("finally") && line !== "a over")).toEqual([
      "a1",
      "a2",
      "ended a replaced",
      "a3",
      "a4",
    ]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.over);
    expect(rig.fates).toEqual(["a1 done", "a2 done", "a3 done", "a4 done"]);
    expect(rig.ends).toEqual({ replaced: 1 });
  },
);

test.for(styles)(
  "SessionRouter fails a session whose message is exhausted; the queue goes to the next one (%s)",
  async (style) => {
    const rig = new Rig(style, { attempts: 1, onExhausted: "end" });
    await rig.consume([m("a1"), m("a2", { fails: 1 }), m("a3")]);
    expect(rig.told).toEqual(["ended a failed (a2 failed)"]);
    expect(rig.fates).toEqual(["a1 done", "a2 dead exhausted", "a3 done"]);
    if (style === "loop") expect(rig.loops).toEqual(["a failed", "a finally"]);
    expect(rig.log.indexOf("ended a failed (a2 failed)")).toBeLessThan(rig.log.indexOf("a3"));
    expect(rig.ends).toEqual({ failed: 1 });
  },
);

test("SessionRouter fails a session whose handler throws after its loop, and tries nothing again", async () => {
  const rig = new Rig("loop", {
    attempts: 5,
    after() {
      throw new Error("afterwards");
    },
  });
  await rig.consume([m("a1"), m("a2", { end: true }), m("a3")]);
  expect(rig.told).toEqual(["ended a failed (afterwards)"]);
  expect(rig.fates).toEqual(["a1 done", "a2 done", "a3 done"]);
  expect(rig.began).toEqual(["a1", "a2", "a3"]);
  expect(rig.ends).toEqual({ failed: 1 });
  expect(rig.router.statistics()).toMatchObject({ retried: 0, deadLettered: 0 });
});

test("SessionRouter fails a session whose handler throws after it was replaced, and starts the next all the same", async () => {
  let first = true;
  const rig = new Rig("loop", {
    starts: (message) => message.start === true,
    duplicateStart: "replace",
    after() {
      if (!first) return;
      first = false;
      throw new Error("afterwards");
    },
  });
  await rig.consume([m("a1", { start: true }), m("a2", { start: true })]);
  expect(rig.told).toEqual(["ended a failed (afterwards)"]);
  expect(rig.done).toEqual(["a1", "a2"]);
});

test("SessionRouter holds a message in hand until the next one is asked for: a loop that breaks and throws fails with it", async () => {
  const rig = new Rig("loop");
  const handled: string[] = [];
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    attempts: 2,
    retryDelayMs: () => 0,
    async session(session) {
      for await (const message of session) {
        handled.push(`${message.name} try ${session.delivery?.attempt}`);
        break;
      }
      throw new Error("after the break");
    },
  });
  const source = memorySource([m("a1")], { keepOpen: true });
  void router.consume(source);
  await rig.clock.advance(0);
  expect(handled).toEqual(["a1 try 1", "a1 try 2"]);
  expect(source.outcomes).toMatchObject([
    { outcome: "dead", letter: { reason: "exhausted", attempts: 2 } },
  ]);
  expect(router.statistics().ended).toMatchObject({ failed: 1 });
});

test.for(styles)(
  "SessionRouter stops a cancelled session: the message in hand is dead-lettered, the queue is the next one's (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.consume([m("a1"), m("a2", { work: 100 }), m("a3")]);
    expect(rig.router.cancel("a", "enough")).toBe(true);
    await rig.clock.settle();
    expect(rig.log.filter((line) => !line.startsWith("a "))).toEqual([
      "a1",
      "a2",
      "a2 cancelled",
      "stopped a cancelled",
      "a3",
    ]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.stopped);
    expect(rig.fates).toEqual(["a1 done", "a2 dead cancelled", "a3 done"]);
    expect(rig.ends).toEqual({ cancelled: 1 });
  },
);

test.for(styles)(
  "SessionRouter stops a quiet session that is cancelled, and has no message to give up (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.consume([m("a1")]);
    expect(rig.router.session("a")?.cancel()).toBe(true);
    await rig.clock.settle();
    expect(rig.told).toEqual(["stopped a cancelled"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.stopped);
    expect(rig.fates).toEqual(["a1 done"]);
    expect(rig.router.cancel("a")).toBe(false);
  },
);

test.for(styles)("SessionRouter stops a session that cancels itself (%s)", async (style) => {
  const rig = new Rig(style, {
    work(message, session) {
      if (message.name === "a1") expect(session.cancel("myself")).toBe(true);
    },
  });
  await rig.consume([m("a1", style === "sync" ? {} : { work: 5 }), m("a2")]);
  await rig.clock.settle();
  expect(rig.told).toEqual(["stopped a cancelled"]);
  expect(rig.fates).toEqual(["a1 dead cancelled", "a2 done"]);
});

test.for(styles)(
  "SessionRouter takes whatever a handler throws after its cancellation as cancelled (%s)",
  async (style) => {
    const rig = new Rig(style, {
      attempts: 5,
      async work(message) {
        if (message.name !== "a1") return;
        try {
          await sleepForever();
        } catch {
          throw new Error("the clean-up failed");
        }
      },
    });
    await rig.consume([m("a1"), m("a2")]);
    rig.router.cancel("a");
    await rig.clock.settle();
    expect(rig.told).toEqual(["stopped a cancelled"]);
    expect(rig.fates).toEqual(["a1 dead cancelled", "a2 done"]);
    expect(rig.router.statistics()).toMatchObject({
      retried: 0,
      ended: { cancelled: 1, failed: 0 },
    });
  },
);

test.for(styles)(
  "SessionRouter takes a handler that denies its cancellation and returns as cancelled (%s)",
  async (style) => {
    const rig = new Rig(style, {
      async work(message) {
        if (message.name === "a1") await sleepForever().catch(() => {});
      },
    });
    await rig.consume([m("a1"), m("a2")]);
    rig.router.cancel("a");
    await rig.clock.settle();
    expect(rig.told).toEqual(["stopped a cancelled"]);
    expect(rig.fates).toEqual(["a1 dead cancelled", "a2 done"]);
  },
);

test.for(styles)(
  "SessionRouter stops a session whose handler cancels its own task (%s)",
  async (style) => {
    const rig = new Rig(style, {
      async work(message, session) {
        if (message.name !== "a1") return;
        session.task?.cancel();
        await sleepForever();
      },
    });
    await rig.consume([m("a1"), m("a2")]);
    expect(rig.told).toEqual(["stopped a cancelled"]);
    expect(rig.fates).toEqual(["a1 dead cancelled", "a2 done"]);
  },
);

test.for(styles)(
  "SessionRouter evicts the idlest quiet session, which had to stop (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 2, evict: "idlest" });
    await rig.consume([m("a1"), m("b1")]);
    await rig.push(m("c1"));
    expect(rig.told).toEqual(["stopped a evicted"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.stopped);
    expect(rig.done).toEqual(["a1", "b1", "c1"]);
    expect(rig.fates).toEqual(["a1 done", "b1 done", "c1 done"]);
    expect(rig.ends).toEqual({ evicted: 1 });
  },
);

test.for(styles)(
  "SessionRouter handles what is queued before a drain stops a session as drained (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1", { work: 10 }), m("a2", { work: 10 }), m("b1"));
    const report = await rig.drain();
    expect(rig.done).toEqual(["b1", "a1", "a2"]);
    expect(rig.told).toEqual(["stopped b drained", "stopped a drained"]);
    if (style === "loop") expect(rig.loops.slice(-2)).toEqual(loopEnds.stopped);
    expect(report).toEqual({ pending: 0, ignored: [], parked: 0, deadLettered: 0, released: 0 });
    expect(rig.ends).toEqual({ drained: 2 });
  },
);

test.for(styles)(
  "SessionRouter dead-letters what a drain's deadline finds unhandled (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.consume([m("a1", { work: 60 }), m("a2", { work: 60 }), m("a3")]);
    const report = await rig.drain(100);
    expect(rig.done).toEqual(["a1"]);
    expect(rig.fates).toEqual(["a1 done", "a3 dead drained", "a2 dead drained"]);
    expect(rig.told).toEqual(["stopped a drained"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.stopped);
    expect(report).toMatchObject({ pending: 0, deadLettered: 2, released: 0 });
    expect(rig.clock.now()).toBe(1_000_100);
  },
);

test.for(styles)(
  "SessionRouter ends a session whose partition moves once its message is handled, and gives the queue back (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 50 });
    const source = await rig.consume([m("a1", { work: 40 }), m("a2")], { partitions: () => "p" });
    const revoked = source.revoke("p");
    await rig.clock.advance(39);
    expect(rig.fates).toEqual(["a2 release"]);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    await revoked;
    expect(rig.fates).toEqual(["a2 release", "a1 done"]);
    expect(rig.told).toEqual(["stopped a moved"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.stopped);
    expect(rig.ends).toEqual({ moved: 1 });
    expect(source.errors).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter gives the message in hand back when the partition cannot wait for it (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 50 });
    const source = await rig.consume([m("a1", { work: 60 }), m("a2")], { partitions: () => "p" });
    const revoked = source.revoke("p");
    await rig.clock.advance(49);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    await revoked;
    expect(rig.fates).toEqual(["a2 release", "a1 release"]);
    expect(rig.told).toEqual(["stopped a moved"]);
    if (style === "loop") expect(rig.loops).toEqual(loopEnds.stopped);
    expect(source.errors).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter hands partitions over when it drains: nothing queued is handled, the one in hand until the deadline (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 5 });
    await rig.consume([m("a1", { work: 60 }), m("a2"), m("b1", { work: 200 }), m("c1")], {
      partitions: (message) => message.key,
    });
    const report = await rig.drain(100);
    expect(rig.done).toEqual(["c1", "a1"]);
    expect(rig.fates.toSorted()).toEqual(["a1 done", "a2 release", "b1 release", "c1 done"]);
    expect(rig.told.toSorted()).toEqual(["stopped a moved", "stopped b moved", "stopped c moved"]);
    expect(report).toEqual({ pending: 0, ignored: [], parked: 0, deadLettered: 0, released: 2 });
    expect(rig.source?.errors).toEqual([]);
  },
);

const reasons: Partial<Record<EndReason, (rig: Rig) => unknown>> = {
  ended: (rig) => rig.router.session("a")?.end(),
  cancelled: (rig) => rig.router.cancel("a"),
  idle: (rig) => rig.clock.advance(100),
};

test.for(styles)(
  "SessionRouter leaves nothing of a session behind, however it ends (%s)",
  async (style) => {
    for (const [reason, act] of Object.entries(reasons)) {
      const rig = new Rig(style, {
        idleMs: 100,
        work(_message, session) {
          session.createTask(() => sleep(10));
          session.sendAfter(1_000_000, m("a2"));
        },
      });
      await rig.send(m("a1"));
      if (reason === "idle") await rig.clock.advance(10);
      await act(rig);
      await rig.clock.advance(10);
      expect(rig.ends).toEqual({ [reason]: 1 });
      expect(rig.clock.waiting).toBe(0);
      expect(tasksOf(rig)).toEqual([]);
      expect(rig.router.statistics()).toMatchObject({
        live: 0,
        leftovers: 0,
        held: { messages: 0 },
      });
      expect([...rig.router.sessions()]).toEqual([]);
      expect(rig.router.session("a")).toBeUndefined();
    }
  },
);

function tasksOf(rig: Rig): string[] {
  return allTasks()
    .filter((task) => task.scope.clock === rig.clock)
    .map(String);
}
