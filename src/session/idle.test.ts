// Idle time on the clock: never early, and measured from the last activity.
import { expect, test } from "vitest";
import { deferred } from "../message/test-support/host.ts";
import { sleep } from "../task/sleep.ts";
import { m, Rig, styles } from "./test-support/rig.ts";

test.for(styles)(
  "SessionRouter measures idleMs from the end of the last handler, and never ends a session early (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 100 });
    await rig.send(m("a1", { work: 250 }));
    await rig.clock.advance(250);
    expect(rig.done).toEqual(["a1"]);
    await rig.clock.advance(99);
    expect(rig.router.statistics()).toMatchObject({ live: 1, running: 0 });
    await rig.clock.advance(0.5);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(0.5);
    expect(rig.told).toEqual(["ended a idle"]);
  },
);

test.for(styles)("SessionRouter begins idleMs anew with every message (%s)", async (style) => {
  const rig = new Rig(style, { idleMs: 100 });
  for (const name of ["a1", "a2", "a3"]) {
    await rig.send(m(name));
    await rig.clock.advance(99);
  }
  expect(rig.told).toEqual([]);
  await rig.clock.advance(1);
  expect(rig.told).toEqual(["ended a idle"]);
  expect(rig.clock.waiting).toBe(0);
});

test.for(styles)(
  "SessionRouter does not end a session early on a clock of fractions (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 10 });
    await rig.clock.advance(0.7);
    await rig.send(m("a1"));
    await rig.clock.advance(9.9);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1.1);
    expect(rig.told).toEqual(["ended a idle"]);
  },
);

test.for(styles)(
  "SessionRouter ends each quiet session in its own time with one timer in all (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 100 });
    await rig.send(m("a1"));
    await rig.clock.advance(30);
    await rig.send(m("b1"));
    await rig.clock.advance(30);
    await rig.send(m("c1"), m("a2"));
    expect(rig.clock.waiting).toBe(1);
    await rig.clock.advance(69);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended b idle"]);
    await rig.clock.advance(30);
    expect(rig.told.slice(1).toSorted()).toEqual(["ended a idle", "ended c idle"]);
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter starts a new session for a message that comes after the idle end (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 100 });
    await rig.send(m("a1"));
    await rig.clock.advance(100);
    await rig.send(m("a2"));
    expect(rig.router.statistics()).toMatchObject({ started: 2, live: 1, handled: 2 });
    await rig.clock.advance(100);
    expect(rig.ends).toEqual({ idle: 2 });
  },
);

test.for(styles)(
  "SessionRouter loses no message that is sent while an idle end is under way (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 100, ended: () => sleep(50) });
    await rig.consume([m("a1")]);
    await rig.clock.advance(120);
    await rig.push(m("a2"));
    expect(rig.began).toEqual(["a1"]);
    expect(rig.router.session("a")).toBeUndefined();
    await rig.clock.advance(30);
    expect(rig.began).toEqual(["a1", "a2"]);
    expect(rig.fates).toEqual(["a1 done", "a2 done"]);
  },
);

test.for(styles)(
  "SessionRouter takes a message queued behind a slow one for activity (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 10 });
    await rig.send(m("a1", { work: 50 }), m("a2", { work: 50 }));
    await rig.clock.advance(109);
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended a idle"]);
  },
);

test.for(styles)("SessionRouter takes a pause before a try for activity (%s)", async (style) => {
  const rig = new Rig(style, { idleMs: 10, attempts: 2, retryDelayMs: () => 500 });
  await rig.send(m("a1", { fails: 1 }));
  await rig.clock.advance(500);
  expect(rig.done).toEqual(["a1"]);
  await rig.clock.advance(9);
  expect(rig.told).toEqual([]);
  await rig.clock.advance(1);
  expect(rig.told).toEqual(["ended a idle"]);
});

test.for(styles)(
  "SessionRouter takes a child task for activity, and begins idleMs at its end (%s)",
  async (style) => {
    const rig = new Rig(style, {
      idleMs: 10,
      work(_message, session) {
        session.createTask(() => sleep(55));
      },
    });
    await rig.send(m("a1"));
    await rig.clock.advance(64);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended a idle"]);
  },
);

test.for(styles)(
  "SessionRouter takes what is kept alive for activity, also when it fails (%s)",
  async (style) => {
    for (const how of ["resolve", "reject"] as const) {
      const kept = deferred<void>();
      const rig = new Rig(style, {
        idleMs: 10,
        work(_message, session) {
          expect(session.keepAlive(kept.promise)).toBe(kept.promise);
        },
      });
      kept.promise.catch(() => {});
      await rig.send(m("a1"));
      await rig.clock.advance(100);
      expect(rig.told).toEqual([]);
      if (how === "resolve") kept.resolve();
      else kept.reject(new Error("no longer"));
      await rig.clock.advance(9);
      expect(rig.told).toEqual([]);
      await rig.clock.advance(1);
      expect(rig.told).toEqual(["ended a idle"]);
    }
  },
);

test.for(styles)("SessionRouter waits for the last of several activities (%s)", async (style) => {
  const first = deferred<void>();
  const rig = new Rig(style, {
    idleMs: 10,
    work(_message, session) {
      void session.keepAlive(first.promise);
      session.createTask(() => sleep(30));
    },
  });
  await rig.send(m("a1"));
  await rig.clock.advance(20);
  first.resolve();
  await rig.clock.advance(19);
  expect(rig.told).toEqual([]);
  await rig.clock.advance(1);
  expect(rig.told).toEqual(["ended a idle"]);
});

test.for(styles)(
  "SessionRouter takes a child made from outside, in a quiet session, for activity (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 100 });
    await rig.send(m("a1"));
    await rig.clock.advance(50);
    rig.router.session("a")?.createTask(() => sleep(60));
    await rig.clock.advance(159);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended a idle"]);
  },
);

test("SessionRouter takes a loop that is busy with something else than its messages for activity", async () => {
  const rig = new Rig("loop", {
    idleMs: 10,
    async work() {
      await sleep(1_000);
    },
  });
  await rig.send(m("a1"));
  await rig.clock.advance(1_009);
  expect(rig.told).toEqual([]);
  await rig.clock.advance(1);
  expect(rig.told).toEqual(["ended a idle"]);
});

test.for(styles)(
  "SessionRouter lets a session have an idle time of its own (%s)",
  async (style) => {
    const rig = new Rig(style, {
      idleMs: 100,
      work(message, session) {
        if (message.key === "a") session.idleMs = 20;
        if (message.key === "b") session.idleMs = Infinity;
        if (message.key === "c") expect(session.idleMs).toBe(100);
      },
    });
    await rig.send(m("a1"), m("b1"), m("c1"));
    await rig.clock.advance(19);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended a idle"]);
    await rig.clock.advance(80);
    expect(rig.told).toEqual(["ended a idle", "ended c idle"]);
    await rig.clock.advance(1_000_000);
    expect(rig.told).toHaveLength(2);
  },
);

test.for(styles)(
  "SessionRouter takes an idle time that is set while the session is quiet from then on (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1"));
    await rig.clock.advance(1_000);
    const session = rig.router.session("a");
    if (session === undefined) throw new Error("no session");
    session.idleMs = 10;
    await rig.clock.advance(9);
    expect(rig.told).toEqual([]);
    session.idleMs = 30;
    await rig.clock.advance(29);
    expect(rig.told).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.told).toEqual(["ended a idle"]);
  },
);

test("SessionRouter refuses an idle time that is none", async () => {
  const rig = new Rig("async");
  await rig.send(m("a1"));
  for (const idleMs of [-1, NaN, "10" as unknown as number]) {
    expect(() => {
      (rig.router.session("a") as { idleMs: number }).idleMs = idleMs;
    }).toThrow(RangeError);
  }
  expect(rig.router.session("a")?.idleMs).toBe(Infinity);
});

test.for(styles)(
  "SessionRouter with idleMs 0 ends a session as soon as it is quiet, not before its line is empty (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 0 });
    await rig.send(m("a1"), m("a2"));
    await rig.clock.advance(0);
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.router.statistics()).toMatchObject({ started: 1, ended: { idle: 1 } });
  },
);

test.for(styles)("SessionRouter never ends a session as idle by default (%s)", async (style) => {
  const rig = new Rig(style);
  await rig.send(m("a1"));
  expect(rig.clock.waiting).toBe(0);
  await rig.clock.advance(1e12);
  expect(rig.router.statistics().live).toBe(1);
});

test.for(styles)(
  "SessionRouter has the machine's timer off when no session is left that could be idle (%s)",
  async (style) => {
    const rig = new Rig(style, { idleMs: 100_000 });
    await rig.send(m("a1", { end: true }), m("b1"));
    rig.router.session("b")?.end();
    await rig.clock.settle();
    expect(rig.router.statistics().live).toBe(0);
    expect(rig.clock.waiting).toBe(0);
  },
);
