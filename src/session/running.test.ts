// Permits (`maxRunning`), and handlers that do not stop when they are told to.
import { expect, test } from "vitest";
import { sleep } from "../task/sleep.ts";
import { timeout } from "../task/timeout.ts";
import { SessionRouter } from "./router.ts";
import { m, Rig, styles, type Message } from "./test-support/rig.ts";

test.for(styles)(
  "SessionRouter runs as many handlers at once as maxRunning says, first come first served (%s)",
  async (style) => {
    const rig = new Rig(style, { maxRunning: 2 });
    await rig.send(
      m("a1", { work: 10 }),
      m("b1", { work: 20 }),
      m("c1", { work: 10 }),
      m("d1", { work: 10 }),
    );
    expect(rig.began).toEqual(["a1", "b1"]);
    expect(rig.router.statistics()).toMatchObject({ running: 2, live: 4, queued: 2 });
    await rig.clock.advance(10);
    expect(rig.began).toEqual(["a1", "b1", "c1"]);
    await rig.clock.advance(10);
    expect(rig.began).toEqual(["a1", "b1", "c1", "d1"]);
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1", "b1", "c1", "d1"]);
    expect(rig.router.statistics().running).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter gives a waiting key its turn before the next message of the one that runs (%s)",
  async (style) => {
    const rig = new Rig(style, { maxRunning: 1 });
    await rig.send(
      m("a1", { work: 10 }),
      m("a2", { work: 10 }),
      m("b1", { work: 10 }),
      m("b2", { work: 10 }),
    );
    await rig.clock.advance(40);
    expect(rig.began).toEqual(["a1", "b1", "a2", "b2"]);
  },
);

test.for(styles)(
  "SessionRouter gives new sessions their first message in the order in which they came (%s)",
  async (style) => {
    const rig = new Rig(style, { maxRunning: 2 });
    await rig.send(m("a1"));
    const work = { work: 10 };
    await rig.send(m("b1", work), m("c1", work), m("a2", work), m("d1", work));
    expect(rig.began).toEqual(["a1", "b1", "c1"]);
    await rig.clock.advance(10);
    expect(rig.began).toEqual(["a1", "b1", "c1", "a2", "d1"]);
  },
);

test("SessionRouter gives a loop that has given a wait up no message beyond maxRunning", async () => {
  const rig = new Rig("async");
  const log: string[] = [];
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    maxRunning: 1,
    async session(session) {
      await session.receive();
      if (session.key === "b") return sleep(100);
      await timeout(10, () => session.receive()).catch(() => log.push("given up"));
      await sleep(10);
      log.push(`${(await session.receive())?.name} at ${rig.clock.now() - 1_000_000}`);
      return undefined;
    },
  });
  await router.send(m("a1"));
  await rig.clock.settle();
  await router.send(m("b1"));
  await rig.clock.advance(15);
  await router.send(m("a2"));
  await rig.clock.advance(80);
  expect(log).toEqual(["given up"]);
  expect(router.statistics().running).toBe(1);
  await rig.clock.advance(10);
  expect(log).toEqual(["given up", "a2 at 100"]);
});

test.for(styles)(
  "SessionRouter holds no permit for a session that waits for its next message (%s)",
  async (style) => {
    const rig = new Rig(style, { maxRunning: 1 });
    for (const name of ["a1", "b1", "c1", "a2"]) await rig.send(m(name));
    expect(rig.done).toEqual(["a1", "b1", "c1", "a2"]);
    expect(rig.router.statistics()).toMatchObject({ running: 0, live: 3 });
  },
);

test.for(styles)(
  "SessionRouter holds no permit for a message that waits for its next try (%s)",
  async (style) => {
    const rig = new Rig(style, { maxRunning: 1, attempts: 2, retryDelayMs: () => 100 });
    await rig.send(m("a1", { fails: 1 }), m("b1"));
    expect(rig.began).toEqual(["a1", "b1"]);
    expect(rig.router.statistics().running).toBe(0);
    await rig.clock.advance(99);
    await rig.send(m("c1", { work: 10 }));
    await rig.clock.advance(1);
    expect(rig.began).toEqual(["a1", "b1", "c1"]);
    await rig.clock.advance(9);
    expect(rig.began).toEqual(["a1", "b1", "c1", "a1"]);
  },
);

test.for(styles)(
  "SessionRouter gives the permit of what is cancelled, ends or fails on (%s)",
  async (style) => {
    const rig = new Rig(style, { maxRunning: 1, attempts: 1, onExhausted: "end" });
    await rig.send(
      m("a1", { work: 1_000 }),
      m("b1", { fails: 1 }),
      m("c1", { end: true }),
      m("d1"),
    );
    rig.router.cancel("a");
    await rig.clock.settle();
    expect(rig.done).toEqual(["c1", "d1"]);
    expect(rig.router.statistics().running).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter cancels a session that still waits for its permit (%s)",
  async (style) => {
    const rig = new Rig(style, { maxRunning: 1 });
    await rig.consume([m("a1", { work: 10 }), m("b1"), m("b2")]);
    expect(rig.router.cancel("b")).toBe(true);
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1", "b1", "b2"]);
    expect(rig.fates).toEqual(["a1 done", "b1 done", "b2 done"]);
  },
);

test.for(styles)("SessionRouter runs every handler at once by default (%s)", async (style) => {
  const rig = new Rig(style);
  await rig.send(
    ..."abcdefghijklmnopqrstuvwxyz".split("").map((key) => m(`${key}1`, { work: 10 })),
  );
  expect(rig.router.statistics().running).toBe(26);
});

test.for(styles)(
  "SessionRouter reports a handler that ignores its cancellation by name after graceMs, once (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 50 });
    await rig.consume([m("a1", { deaf: 1_000 }), m("a2"), m("b1")]);
    rig.router.cancel("a");
    await rig.clock.advance(49);
    expect(rig.problems).toEqual([]);
    expect(rig.router.statistics().overdue).toBe(0);
    await rig.clock.advance(1);
    const name = style === "loop" ? "session" : "message";
    expect(rig.problems).toEqual([
      `The handler ${name} of session "a" ignores its cancellation (cancelled)`,
    ]);
    expect(rig.router.statistics()).toMatchObject({ overdue: 1 });
    expect(rig.fates).toEqual(["b1 done", "a1 dead cancelled"]);
    expect(rig.router.why("a")).toContain("its handler ignores its cancellation");
    await rig.clock.advance(949);
    expect(rig.began).toEqual(["a1", "b1"]);
    await rig.clock.advance(1);
    expect(rig.began).toEqual(["a1", "b1", "a2"]);
    expect(rig.router.statistics()).toMatchObject({ overdue: 0, running: 0 });
    expect(rig.problems).toHaveLength(1);
    expect(rig.fates).toEqual(["b1 done", "a1 dead cancelled", "a2 done"]);
    expect(rig.told).toEqual(["stopped a cancelled"]);
  },
);

test.for(styles)(
  "SessionRouter gives a cancelled handler five seconds by default (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1", { deaf: 10_000 }));
    rig.router.cancel("a");
    await rig.clock.advance(4_999);
    expect(rig.problems).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.problems).toHaveLength(1);
  },
);

test.for(styles)(
  "SessionRouter lets nobody but its own key wait for a handler that ignores its cancellation, also with maxRunning 1 (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 30, maxRunning: 1 });
    await rig.consume([m("a1", { deaf: 1_000 }), m("b1"), m("a2")]);
    rig.router.cancel("a");
    await rig.clock.advance(29);
    expect(rig.done).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.done).toEqual(["b1"]);
    expect(rig.router.statistics().running).toBe(0);
    await rig.clock.advance(970);
    expect(rig.done).toEqual(["b1", "a1", "a2"]);
    expect(rig.router.statistics().running).toBe(0);
  },
);

test("SessionRouter warns of a handler that ignores its cancellation when nobody listens", async () => {
  const rig = new Rig("async", { graceMs: 1 });
  rig.deafen();
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on("warning", onWarning);
  try {
    await rig.send(m("a1", { deaf: 10 }));
    rig.router.cancel("a");
    await rig.clock.advance(1);
    await rig.clock.settle();
    expect(warnings.map(({ name, message }) => `${name}: ${message}`)).toEqual([
      'HeddleWarning: The handler message of session "a" ignores its cancellation (cancelled)',
    ]);
  } finally {
    process.off("warning", onWarning);
  }
});
