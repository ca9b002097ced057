// Places: `maxLive` and `evict`.
import { expect, test } from "vitest";
import { sleep } from "../task/sleep.ts";
import { m, Rig, styles } from "./test-support/rig.ts";

test.for(styles)(
  "SessionRouter holds a start beyond maxLive while messages of live keys pass it (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1 });
    await rig.consume([m("a1"), m("b1"), m("b2"), m("a2")]);
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.router.statistics()).toMatchObject({
      live: 1,
      started: 1,
      queued: 2,
      held: { messages: 2 },
    });
    expect(rig.router.session("b")).toBeUndefined();
    expect([...rig.router.sessions()].map(({ key }) => key)).toEqual(["a"]);
    await rig.push(m("a3", { end: true }));
    expect(rig.done).toEqual(["a1", "a2", "a3", "b1", "b2"]);
    expect(rig.router.statistics()).toMatchObject({ live: 1, peakLive: 1 });
  },
);

test.for(styles)("SessionRouter gives free places first come first served (%s)", async (style) => {
  const rig = new Rig(style, { maxLive: 2 });
  await rig.consume([
    m("a1", { work: 10, end: true }),
    m("b1", { work: 5, end: true }),
    m("c1"),
    m("d1"),
    m("e1"),
  ]);
  await rig.clock.advance(5);
  expect(rig.done).toEqual(["b1", "c1"]);
  await rig.clock.advance(5);
  expect(rig.done).toEqual(["b1", "c1", "a1", "d1"]);
  rig.router.session("c")?.end();
  await rig.clock.settle();
  expect(rig.done.at(-1)).toBe("e1");
});

test.for(styles)(
  "SessionRouter makes senders wait for a place, and trySend gives false (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1 });
    await rig.send(m("a1"));
    expect(rig.router.trySend(m("b1"))).toBe(false);
    expect(rig.router.trySend(m("a2"))).toBe(true);
    const sent: string[] = [];
    const abort = new AbortController();
    void rig.router.send(m("b1")).then(() => sent.push("b1"));
    void rig.router.send(m("b2")).then(() => sent.push("b2"));
    const given = rig.router.send(m("c1"), { signal: abort.signal });
    await rig.clock.settle();
    expect(sent).toEqual([]);
    abort.abort(new Error("enough"));
    await expect(given).rejects.toThrow("enough");
    rig.router.session("a")?.end();
    await rig.clock.settle();
    expect(sent).toEqual(["b1", "b2"]);
    expect(rig.done).toEqual(["a1", "a2", "b1", "b2"]);
    rig.router.session("b")?.end();
    await rig.clock.settle();
    expect(rig.router.statistics()).toMatchObject({ live: 0, started: 2, queued: 0 });
  },
);

test.for(styles)(
  "SessionRouter judges what waited for a place by starts when its turn comes (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1, starts: (message) => message.start === true });
    await rig.consume([m("a1", { start: true }), m("b1", { start: true, end: true }), m("b2")]);
    rig.router.session("a")?.end();
    await rig.clock.settle();
    expect(rig.done).toEqual(["a1", "b1"]);
    expect(rig.fates).toEqual(["a1 done", "b1 done", "b2 dead late"]);
  },
);

test.for(styles)(
  "SessionRouter evicts the one that has been quiet for longest, never one that is busy (%s)",
  async (style) => {
    const rig = new Rig(style, {
      maxLive: 4,
      evict: "idlest",
      work(message, session) {
        if (message.key === "b") session.createTask(() => sleep(1_000));
      },
    });
    await rig.send(m("a1"));
    await rig.clock.advance(1);
    await rig.send(m("b1"), m("c1", { work: 1_000 }));
    await rig.clock.advance(1);
    await rig.send(m("d1"));
    await rig.clock.advance(1);
    await rig.send(m("a2"));
    await rig.clock.advance(1);
    await rig.send(m("e1"));
    expect(rig.told).toEqual(["stopped d evicted"]);
    await rig.send(m("f1"));
    expect(rig.told).toEqual(["stopped d evicted", "stopped a evicted"]);
    expect(rig.done).toEqual(["a1", "b1", "d1", "a2", "e1", "f1"]);
  },
);

test.for(styles)(
  "SessionRouter evicts as soon as one becomes quiet, where none was (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1, evict: "idlest" });
    await rig.send(m("a1", { work: 10 }), m("b1"));
    expect(rig.began).toEqual(["a1"]);
    await rig.clock.advance(10);
    expect(rig.told).toEqual(["stopped a evicted"]);
    expect(rig.done).toEqual(["a1", "b1"]);
    expect(rig.router.statistics().forced.evictions).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter evicts as soon as the last child of a quiet session has ended (%s)",
  async (style) => {
    const rig = new Rig(style, {
      maxLive: 1,
      evict: "idlest",
      work(message, session) {
        if (message.key === "a") session.createTask(() => sleep(10));
      },
    });
    await rig.send(m("a1"), m("b1"));
    expect(rig.done).toEqual(["a1"]);
    await rig.clock.advance(10);
    expect(rig.told).toEqual(["stopped a evicted"]);
    expect(rig.done).toEqual(["a1", "b1"]);
  },
);

test.for(styles)(
  "SessionRouter loses no message that comes for a key which is being evicted (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1, evict: "idlest", stopped: () => sleep(10) });
    await rig.consume([m("a1"), m("b1")]);
    await rig.push(m("a2"));
    expect(rig.done).toEqual(["a1"]);
    await rig.clock.advance(100);
    expect(rig.done).toEqual(["a1", "b1", "a2"]);
    expect(rig.fates).toEqual(["a1 done", "b1 done", "a2 done"]);
    expect(rig.router.statistics()).toMatchObject({ peakLive: 1, ended: { evicted: 2 } });
  },
);

test.for(styles)(
  "SessionRouter evicts without being asked when the sources have ended and nothing could move: counted, and warned of once (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1 });
    const source = await rig.consume([m("a1"), m("b1"), m("c1")]);
    expect(rig.done).toEqual(["a1"]);
    source.end();
    await rig.clock.settle();
    await rig.consuming;
    expect(rig.done).toEqual(["a1", "b1", "c1"]);
    expect(rig.router.statistics()).toMatchObject({
      live: 1,
      ended: { evicted: 2 },
      forced: { evictions: 2 },
    });
    expect(rig.problems).toEqual([
      "Every place is taken by a quiet session (maxLive 1) and nothing could move: the idlest was evicted",
    ]);
  },
);

test.for(styles)(
  "SessionRouter evicts without being asked when what waits fills the router (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1, maxHeld: 2 });
    const source = await rig.consume([m("a1"), m("b1"), m("b2"), m("c1")]);
    source.end();
    await rig.clock.settle();
    expect(rig.done).toEqual(["a1", "b1", "b2", "c1"]);
    expect(rig.router.statistics().forced.evictions).toBeGreaterThan(0);
    expect(rig.problems).toHaveLength(1);
  },
);

test.for(styles)(
  "SessionRouter does not force anything while a live session can still end or go on by itself (%s)",
  async (style) => {
    for (const idleMs of [100, Infinity]) {
      const rig = new Rig(style, { maxLive: 1, idleMs });
      const source = await rig.consume([
        m("a1", idleMs === Infinity ? { work: 100 } : {}),
        m("b1"),
      ]);
      source.end();
      await rig.clock.advance(99);
      expect(rig.told).toEqual([]);
      await rig.clock.advance(1);
      expect(rig.done).toEqual(["a1", "b1"]);
      expect(rig.router.statistics().forced.evictions).toBe(idleMs === Infinity ? 1 : 0);
    }
  },
);

test.for(styles)(
  "SessionRouter lets others have the place of a handler that ignores its cancellation (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1, graceMs: 30 });
    await rig.consume([m("a1", { deaf: 1_000 }), m("b1"), m("a2")]);
    rig.router.cancel("a");
    await rig.clock.advance(29);
    expect(rig.done).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.done).toEqual(["b1"]);
    expect(rig.router.statistics()).toMatchObject({ overdue: 1, live: 1 });
    expect(rig.fates).toEqual(["a1 dead cancelled", "b1 done"]);
    rig.router.session("b")?.end();
    await rig.clock.advance(970);
    expect(rig.router.statistics()).toMatchObject({ overdue: 0 });
    expect(rig.done).toEqual(["b1", "a1", "a2"]);
    expect(rig.told).toEqual(["ended b ended", "stopped a cancelled"]);
  },
);
