// The end of a router: everything is handled, dead-lettered or given back, and
// nothing is pending afterwards.
import { expect, test } from "vitest";
import { memorySource } from "../broker/memory/index.ts";
import { allTasks } from "../task/live.ts";
import { sleep } from "../task/sleep.ts";
import { RouterClosedError } from "./errors.ts";
import { SessionRouter } from "./router.ts";
import { m, Rig, styles, type Message } from "./test-support/rig.ts";

const clean = { pending: 0, ignored: [], parked: 0, deadLettered: 0, released: 0 };

test.for(styles)(
  "SessionRouter accepts nothing more from the call of drain on (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1", { work: 10 }));
    const draining = rig.router.drain();
    expect(rig.router.statistics().state).toBe("draining");
    await expect(rig.router.send(m("b1"))).rejects.toThrow(RouterClosedError);
    await expect(rig.router.call(m("b1"))).rejects.toThrow(
      "Cannot call: the router is draining or closed",
    );
    await expect(rig.router.consume([m("b1")])).rejects.toThrow(RouterClosedError);
    expect(rig.router.trySend(m("b1"))).toBe(false);
    await rig.clock.advance(10);
    expect(await draining).toEqual(clean);
    expect(rig.done).toEqual(["a1"]);
    expect(rig.router.statistics().state).toBe("closed");
    await expect(rig.router.send(m("b1"))).rejects.toThrow(RouterClosedError);
  },
);

test.for(styles)(
  "SessionRouter gives the same promise to whoever drains a second time (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1", { work: 10 }));
    const first = rig.router.drain();
    expect(rig.router.drain({ deadlineMs: 5 })).toBe(first);
    await rig.clock.advance(10);
    await first;
    expect(rig.router.drain()).toBe(first);
    expect(rig.done).toEqual(["a1"]);
  },
);

test("SessionRouter refuses a deadline that is none, and goes on", async () => {
  const rig = new Rig("async");
  for (const deadlineMs of [-1, NaN, "5" as unknown as number]) {
    expect(() => rig.router.drain({ deadlineMs })).toThrow(
      new RangeError(`Cannot drain: deadlineMs must be >= 0, current value is ${deadlineMs}`),
    );
  }
  expect(rig.router.statistics().state).toBe("open");
  expect(await rig.router.drain()).toEqual(clean);
});

test.for(styles)(
  "SessionRouter lets the sends that wait for room in, as far as there comes room (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1 });
    await rig.send(m("a1", { work: 10 }), m("a2"), m("a3"), m("a4"));
    const report = await rig.drain();
    expect(rig.done).toEqual(["a1", "a2", "a3", "a4"]);
    expect(report).toEqual(clean);
  },
);

test.for(styles)(
  "SessionRouter refuses the sends that still wait at the deadline (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1 });
    await rig.send(m("a1", { work: 100 }), m("a2"), m("a3"));
    const report = await rig.drain(50);
    expect(rig.log).toContain("a3 refused: RouterClosedError");
    expect(rig.letters.toSorted()).toEqual(["a1 drained", "a2 drained"]);
    expect(report).toEqual({ ...clean, deadLettered: 2 });
  },
);

test.for(styles)("SessionRouter stops at once with a deadline of 0 (%s)", async (style) => {
  const rig = new Rig(style);
  await rig.send(m("a1", { work: 100 }), m("a2"), m("b1"));
  const report = await rig.drain(0);
  expect(rig.clock.now()).toBe(1_000_000);
  expect(rig.letters.toSorted()).toEqual(["a1 drained", "a2 drained"]);
  expect(report).toEqual({ ...clean, deadLettered: 2 });
  expect(rig.told.toSorted()).toEqual(["stopped a drained", "stopped b drained"]);
});

test.for(styles)(
  "SessionRouter names the handlers that ignore a drain, after deadlineMs and graceMs (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 30 });
    await rig.send(m("a1", { deaf: 1_000 }), m("a2"), m("b1", { work: 1_000 }));
    const report = await rig.drain(50);
    expect(rig.clock.now()).toBe(1_000_080);
    const name = style === "loop" ? "session" : "message";
    expect(report).toEqual({
      pending: 1,
      ignored: [`The handler ${name} of session "a"`],
      parked: 0,
      deadLettered: 3,
      released: 0,
    });
    expect(rig.problems).toEqual([
      `The handler ${name} of session "a" ignores its cancellation (drained)`,
    ]);
    expect(rig.router.statistics()).toMatchObject({
      overdue: 1,
      state: "closed",
      held: { messages: 0 },
    });
    expect(rig.letters.toSorted()).toEqual(["a1 drained", "a2 drained", "b1 drained"]);
    await rig.clock.advance(1_000);
    expect(rig.router.statistics()).toMatchObject({ overdue: 0, live: 0 });
    expect(rig.told.toSorted()).toEqual(["stopped a drained", "stopped b drained"]);
    expect(rig.letters).toHaveLength(3);
  },
);

test.for(styles)(
  "SessionRouter takes at most deadlineMs and graceMs, also when the source does not close (%s)",
  async (style) => {
    const rig = new Rig(style, { graceMs: 30 });
    const source = memorySource([m("a1", { deaf: 1_000 })], { keepOpen: true });
    const stuck = {
      ...wrap(source),
      open(host: Parameters<typeof source.open>[0]) {
        const connection = source.open(host);
        if (connection instanceof Promise) throw new Error("not here");
        return Object.assign(Object.create(connection) as typeof connection, {
          request: (count: number) => connection.request(count),
          close: () => new Promise<void>(() => {}),
        });
      },
    };
    void rig.router.consume(stuck);
    await rig.clock.settle();
    expect(rig.began).toEqual(["a1"]);
    const report = await rig.drain(50);
    expect(rig.clock.now()).toBe(1_000_080);
    expect(report.pending).toBe(1);
  },
);

function wrap({ name, capabilities }: ReturnType<typeof memorySource<Message>>) {
  return { name, capabilities };
}

test("SessionRouter does not wait in a drain for an iterable that never gives anything again", async () => {
  const rig = new Rig("async");
  const endless: AsyncIterable<Message> = {
    [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }),
  };
  const consuming = rig.router.consume(endless);
  await rig.clock.settle();
  expect(await rig.drain()).toEqual(clean);
  await consuming;
});

test.for(styles)(
  "SessionRouter handles what a source has given before it drains, and reads no more (%s)",
  async (style) => {
    const rig = new Rig(style, { maxHeld: 2 });
    let read = 0;
    function* numbers(): Generator<Message> {
      for (;;) yield m(`a${++read}`, { work: 10 });
    }
    const consuming = rig.router.consume(numbers());
    await rig.clock.settle();
    const before = read;
    const report = await rig.drain();
    await consuming;
    expect(read).toBe(before);
    expect(rig.done).toHaveLength(before);
    expect(report).toEqual(clean);
  },
);

test.for(styles)(
  "SessionRouter drains what waits for a place, one after the other (%s)",
  async (style) => {
    const rig = new Rig(style, { maxLive: 1 });
    await rig.consume([m("a1"), m("b1"), m("c1", { work: 10 }), m("c2"), m("b2")]);
    expect(rig.done).toEqual(["a1"]);
    const report = await rig.drain();
    expect(rig.done).toEqual(["a1", "b1", "b2", "c1", "c2"]);
    expect(report).toEqual(clean);
    expect(rig.ends).toEqual({ drained: 3 });
  },
);

test.for(styles)(
  "SessionRouter waits in a drain for a state that is being made (%s)",
  async (style) => {
    const rig = new Rig(style, { state: () => sleep(20) });
    await rig.send(m("a1"));
    expect(await rig.drain()).toEqual(clean);
    expect(rig.done).toEqual(["a1"]);
  },
);

test.for(styles)(
  "SessionRouter stops the making of a state at the deadline (%s)",
  async (style) => {
    const rig = new Rig(style, { state: async () => sleep(1_000) });
    await rig.send(m("a1"));
    expect(await rig.drain(20)).toEqual({ ...clean, deadLettered: 1 });
    expect(rig.clock.now()).toBe(1_000_020);
    expect(rig.letters).toEqual(["a1 drained"]);
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter waits for ended and stopped, and stops them at the deadline (%s)",
  async (style) => {
    const log: string[] = [];
    const rig = new Rig(style, {
      async stopped(session) {
        log.push("stopping");
        await sleep(session.key === "a" ? 10 : 1_000);
        log.push(`stopped ${session.key}`);
      },
    });
    await rig.send(m("a1"), m("b1"));
    const report = await rig.drain(50);
    expect(log).toEqual(["stopping", "stopping", "stopped a"]);
    expect(rig.clock.now()).toBe(1_000_050);
    expect(report).toEqual(clean);
  },
);

test.for(styles)(
  "SessionRouter stops what tidies up after the deadline, and does not call it deaf (%s)",
  async (style) => {
    const log: string[] = [];
    const rig = new Rig(style, {
      graceMs: 30,
      async stopped() {
        log.push("stopping");
        await sleep(1_000).finally(() => log.push("tidied up"));
      },
    });
    await rig.send(m("a1", { work: 1_000 }));
    const report = await rig.drain(50);
    expect(log).toEqual(["stopping", "tidied up"]);
    expect(rig.clock.now()).toBe(1_000_080);
    expect(report).toEqual({ ...clean, deadLettered: 1 });
    expect(rig.problems).toEqual([]);
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter gives stopped and ended the time that they take otherwise (%s)",
  async (style) => {
    const rig = new Rig(style, {
      graceMs: 30,
      stopped: () => sleep(1_000),
      ended: () => sleep(1_000),
      work(_message, session) {
        session.createTask(() => sleep(500));
      },
    });
    await rig.send(m("a1", { work: 100 }), m("b1", { end: true }));
    rig.router.cancel("a");
    await rig.clock.advance(999);
    expect(rig.router.statistics()).toMatchObject({ live: 2, overdue: 0 });
    await rig.clock.advance(1);
    expect(rig.router.statistics()).toMatchObject({ live: 0, overdue: 0 });
    expect(rig.problems).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter keeps letters that nobody has taken at the deadline (%s)",
  async (style) => {
    const rig = new Rig(style, {
      attempts: 1,
      onExhausted: "deadLetter",
      deadLetter() {
        throw new Error("no room");
      },
    });
    await rig.consume([m("a1", { fails: 1 })]);
    const report = await rig.drain(500);
    expect(rig.letters).toEqual(["a1 exhausted"]);
    expect(report.pending).toBe(0);
    expect(rig.clock.waiting).toBe(0);
    expect(rig.router.statistics().held.messages).toBe(0);
  },
);

test("SessionRouter drains with drainMs when it is disposed of", async () => {
  const rig = new Rig("async", { drainMs: 70 });
  await rig.send(m("a1", { work: 1_000 }));
  const disposing = rig.router[Symbol.asyncDispose]();
  let disposed = false;
  void disposing.then(() => (disposed = true));
  await rig.clock.advance(69);
  expect(disposed).toBe(false);
  await rig.clock.advance(1);
  expect(disposed).toBe(true);
  expect(rig.letters).toEqual(["a1 drained"]);
});

test("SessionRouter gives drain ten seconds by default when it is disposed of", async () => {
  const rig = new Rig("async");
  await rig.send(m("a1", { work: 1_000_000 }));
  void rig.router[Symbol.asyncDispose]();
  await rig.clock.advance(9_999);
  expect(rig.letters).toEqual([]);
  await rig.clock.advance(1);
  expect(rig.letters).toEqual(["a1 drained"]);
});

test.for(styles)(
  "SessionRouter has no task, timer or session left after a drain (%s)",
  async (style) => {
    const rig = new Rig(style, {
      idleMs: 1_000,
      attempts: 3,
      retryDelayMs: () => 500,
      maxRunning: 2,
      work(message, session) {
        session.createTask(() => sleep(100_000));
        session.sendAfter(5_000, m(`${message.key}9`));
      },
    });
    await rig.send(
      m("a1"),
      m("b1", { fails: 1 }),
      m("c1", { work: 5 }),
      m("d1", { end: true }),
      m("d2"),
    );
    await rig.drain();
    expect(rig.clock.waiting).toBe(0);
    expect(allTasks().filter((task) => task.scope.clock === rig.clock)).toEqual([]);
    expect(rig.router.statistics()).toMatchObject({ live: 0, running: 0, leftovers: 0, queued: 0 });
    expect([...rig.router.sessions()]).toEqual([]);
  },
);

test("SessionRouter drains once when handlers send to each other meanwhile: they are refused", async () => {
  const rig = new Rig("async");
  const refused: unknown[] = [];
  const router: SessionRouter<Message, string, undefined, unknown> = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    async message(): Promise<void> {
      await sleep(10);
      await router.send(m("b1")).catch((error: unknown) => refused.push(error));
    },
  });
  void router.send(m("a1"));
  const draining = router.drain();
  await rig.clock.advance(10);
  expect(await draining).toEqual(clean);
  expect(refused).toEqual([expect.any(RouterClosedError)]);
});
