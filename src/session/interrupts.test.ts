// `interrupts`: a message that cancels the call in progress and what is queued
// before it.
import { expect, test } from "vitest";
import { errorOf } from "../task/test-support/settle.ts";
import { NotHandledError } from "./errors.ts";
import { m, messageStyles, Rig, type Message, type RigOptions } from "./test-support/rig.ts";

const stop: RigOptions = { interrupts: (message: Message) => message.name.endsWith("!") };

test.for(messageStyles)(
  "SessionRouter cancels the call in progress and what is queued before an interrupting message (%s)",
  async (style) => {
    const rig = new Rig(style, stop);
    await rig.consume([m("a1", { work: 100 }), m("b1", { work: 10 })]);
    await rig.push(m("a2"), m("a3"), m("a!"), m("a4"));
    expect(rig.log).toEqual(["a1", "b1", "a1 cancelled", "a!", "a4"]);
    expect(rig.fates).toEqual(["a2 done", "a3 done", "a1 done", "a! done", "a4 done"]);
    expect(rig.router.statistics()).toMatchObject({
      interrupted: 3,
      handled: 2,
      dropped: 0,
      retried: 0,
      deadLettered: 0,
      started: 2,
    });
    await rig.clock.advance(10);
    expect(rig.done).toContain("b1");
    expect(rig.told).toEqual([]);
  },
);

test.for(messageStyles)(
  "SessionRouter only queues an interrupting message where nothing is in progress (%s)",
  async (style) => {
    const rig = new Rig(style, stop);
    await rig.send(m("a!"));
    await rig.send(m("a1"));
    await rig.send(m("a!"));
    expect(rig.done).toEqual(["a!", "a1", "a!"]);
    expect(rig.router.statistics().interrupted).toBe(0);
  },
);

test.for(messageStyles)(
  "SessionRouter keeps an end message in spite of an interruption, queued or in progress (%s)",
  async (style) => {
    const rig = new Rig(style, stop);
    await rig.consume([m("a1", { work: 10 })]);
    await rig.push(m("a2", { end: true }), m("a!"));
    expect(rig.fates).toEqual(["a1 done", "a2 done", "a! done"]);
    expect(rig.told).toEqual(["ended a ended"]);
    await rig.push(m("b1", { work: 10, end: true }));
    await rig.push(m("b!"));
    expect(rig.log).not.toContain("b1 cancelled");
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a2", "a!", "b1", "b!"]);
    expect(rig.router.statistics()).toMatchObject({ interrupted: 1, ended: { ended: 2 } });
  },
);

test.for(messageStyles)(
  "SessionRouter never tries an interrupted message again, whatever its handler throws (%s)",
  async (style) => {
    const rig = new Rig(style, {
      ...stop,
      async work(message) {
        if (message.name !== "a1") return;
        try {
          await new Promise(
            (_resolve, reject) => void rig.clock.wakeAfter(50, () => reject(new Error("late"))),
          );
        } catch {
          throw new Error("broken");
        }
      },
    });
    await rig.consume([m("a1")]);
    await rig.push(m("a!"));
    await rig.clock.advance(50);
    expect(rig.fates).toEqual(["a1 done", "a! done"]);
    expect(rig.router.statistics()).toMatchObject({ interrupted: 1, retried: 0, deadLettered: 0 });
  },
);

test.for(messageStyles)(
  "SessionRouter interrupts a message that waits for its next try (%s)",
  async (style) => {
    const rig = new Rig(style, { ...stop, retryDelayMs: () => 1_000 });
    await rig.consume([m("a1", { fails: 9 }), m("a2")]);
    await rig.push(m("a!"));
    expect(rig.began).toEqual(["a1", "a!"]);
    expect(rig.fates.toSorted()).toEqual(["a! done", "a1 done", "a2 done"]);
    expect(rig.router.statistics()).toMatchObject({ interrupted: 2, handled: 1 });
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(messageStyles)(
  "SessionRouter is interrupted although the inbox is full, and by senders that wait too (%s)",
  async (style) => {
    for (const overflow of ["wait", "reject", "dropOldest", "dropNewest"] as const) {
      const rig = new Rig(style, { ...stop, inboxSize: 2, overflow });
      const sent: string[] = [];
      const send = (message: Message): void => {
        const sending = rig.router.send(message);
        sending.then(() => sent.push(message.name)).catch(() => {});
      };
      send(m("a1", { work: 100 }));
      await rig.clock.settle();
      for (const message of [m("a2"), m("a3"), m("a4"), m("a!"), m("a5")]) send(message);
      await rig.clock.settle();
      expect(rig.began).toEqual(["a1", "a!", "a5"]);
      const waited = overflow === "wait" ? ["a4"] : [];
      expect(sent.filter((name) => name !== "a4")).toEqual(["a1", "a2", "a3", "a!", "a5"]);
      if (overflow === "wait") expect(sent).toContain("a4");
      const dropped = overflow.startsWith("drop") ? 1 : 0;
      expect(rig.router.statistics()).toMatchObject({
        interrupted: 3 + waited.length,
        dropped,
        handled: 2,
        queued: 0,
        held: { messages: 0 },
      });
    }
  },
);

test.for(messageStyles)(
  "SessionRouter is interrupted by a consumed message behind a full inbox, and by one that it sent itself (%s)",
  async (style) => {
    const rig = new Rig(style, {
      ...stop,
      inboxSize: 1,
      work(message, session) {
        if (message.name === "a!") session.sendAfter(50, m("a9!"));
      },
    });
    await rig.consume([m("a1", { work: 100 })]);
    await rig.push(m("a2"), m("a3"), m("a4"), m("a!", { work: 100 }), m("a5"));
    expect(rig.began).toEqual(["a1", "a!"]);
    await rig.clock.advance(50);
    expect(rig.began).toEqual(["a1", "a!", "a9!"]);
    expect(rig.fates).toEqual(["a2 done", "a3 done", "a4 done", "a1 done", "a5 done", "a! done"]);
    expect(rig.router.statistics()).toMatchObject({ interrupted: 6, handled: 1 });
  },
);

test.for(messageStyles)(
  "SessionRouter lets a message that interrupts a start take its place (%s)",
  async (style) => {
    let broken = true;
    const rig = new Rig(style, {
      ...stop,
      starts: (message) => message.start === true,
      retryDelayMs: () => 1_000,
      state() {
        if (broken) throw new Error("no state");
        return "state";
      },
      work: (_message, session) => void rig.log.push(String(session.state)),
    });
    await rig.send(m("a1", { start: true }), m("a!"), m("b1", { start: true }));
    broken = false;
    await rig.send(m("b!"));
    expect(rig.log).toEqual(["b!", "state"]);
    await rig.clock.advance(1_000);
    expect(rig.log).toEqual(["b!", "state", "a!", "state"]);
    expect(rig.letters).toEqual([]);
    expect(rig.router.statistics()).toMatchObject({ interrupted: 2, started: 2 });
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(messageStyles)("SessionRouter does not interrupt a parked key (%s)", async (style) => {
  const rig = new Rig(style, { ...stop, attempts: 1, onExhausted: "park" });
  await rig.send(m("a1", { fails: 9 }), m("a2"));
  await rig.send(m("a!"));
  expect(rig.router.statistics()).toMatchObject({ parked: 1, interrupted: 0, queued: 3 });
});

test.for(messageStyles)(
  "SessionRouter tells a caller that its message was interrupted (%s)",
  async (style) => {
    const rig = new Rig(style, stop);
    const called = errorOf(rig.router.call(m("a1", { work: 100 })));
    const queued = errorOf(rig.router.call(m("a2")));
    await rig.clock.settle();
    await rig.send(m("a!"));
    expect(await called).toEqual(new NotHandledError("a", "interrupted"));
    expect(await queued).toMatchObject({ outcome: "interrupted", key: "a" });
  },
);

test.for(messageStyles)(
  "SessionRouter asks interrupts with the session, and takes one that throws for no interruption, reported (%s)",
  async (style) => {
    const broken = new Error("broken");
    const asked: unknown[] = [];
    const rig = new Rig(style, {
      interrupts(message, session) {
        asked.push([message.name, session.key]);
        if (message.name === "a!") throw broken;
        return false;
      },
    });
    await rig.consume([m("a1", { work: 10 })]);
    await rig.push(m("a!"));
    await rig.send(m("a!"));
    await rig.clock.advance(10);
    expect(asked).toEqual([
      ["a1", "a"],
      ["a!", "a"],
      ["a!", "a"],
    ]);
    expect(rig.done).toEqual(["a1", "a!", "a!"]);
    expect(rig.fates).toEqual(["a1 done", "a! done"]);
    expect(rig.problems).toHaveLength(2);
    expect(rig.problems[0]).toMatch(
      /Cannot tell whether a message of key "a" interrupts: Error: broken$/,
    );
  },
);

test.for(messageStyles)(
  "SessionRouter reports an interrupted handler that goes on, which holds up its own key and no other (%s)",
  async (style) => {
    const rig = new Rig(style, { ...stop, graceMs: 30, maxRunning: 1 });
    await rig.consume([m("a1", { deaf: 1_000 })]);
    await rig.push(m("a!"), m("b1"));
    await rig.clock.advance(29);
    expect(rig.problems).toEqual([]);
    expect(rig.done).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.problems).toEqual([
      'The handler message of session "a" ignores its cancellation (interrupted)',
    ]);
    expect(rig.done).toEqual(["b1"]);
    expect(rig.router.statistics()).toMatchObject({ overdue: 1, running: 0 });
    await rig.clock.advance(970);
    expect(rig.done).toEqual(["b1", "a1", "a!"]);
    expect(rig.router.statistics()).toMatchObject({
      overdue: 0,
      running: 0,
      live: 2,
      interrupted: 1,
    });
    expect(rig.told).toEqual([]);
    expect(rig.fates.toSorted()).toEqual(["a! done", "a1 done", "b1 done"]);
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(messageStyles)(
  "SessionRouter calls the grace of an interrupted handler off when it stops in time (%s)",
  async (style) => {
    const rig = new Rig(style, { ...stop, graceMs: 30 });
    await rig.send(m("a1", { work: 1_000 }));
    await rig.send(m("a!", { work: 100 }));
    await rig.clock.advance(100);
    expect(rig.done).toEqual(["a!"]);
    expect(rig.problems).toEqual([]);
    expect(rig.clock.waiting).toBe(0);
  },
);
