// How much may wait: in one inbox (`inboxSize`, `overflow`) and in the whole
// router (`maxHeld`).
import { expect, test } from "vitest";
import { createTask } from "../task/task.ts";
import { sleep } from "../task/sleep.ts";
import { InboxFullError, SelfSendError } from "./errors.ts";
import { SessionRouter } from "./router.ts";
import { m, Rig, styles, type Message } from "./test-support/rig.ts";

test.for(styles)(
  "SessionRouter makes a send wait for room, and lets the senders in in their order (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 2 });
    const sent: string[] = [];
    for (const name of ["a1", "a2", "a3", "a4", "a5"]) {
      void rig.router.send(m(name, { work: 10 })).then(() => sent.push(name));
    }
    await rig.clock.settle();
    expect(sent).toEqual(["a1", "a2", "a3"]);
    expect(rig.router.trySend(m("a6"))).toBe(false);
    await rig.clock.advance(10);
    expect(sent).toEqual(["a1", "a2", "a3", "a4"]);
    expect(rig.router.trySend(m("a6"))).toBe(false);
    await rig.clock.advance(40);
    expect(rig.done).toEqual(["a1", "a2", "a3", "a4", "a5"]);
    expect(rig.router.statistics()).toMatchObject({ dropped: 0, deadLettered: 0 });
  },
);

test.for(styles)(
  "SessionRouter has room for 64 messages in an inbox by default (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a0", { work: 10 }));
    let accepted = 0;
    while (rig.router.trySend(m(`a${accepted + 1}`))) accepted++;
    expect(accepted).toBe(64);
    expect(rig.router.trySend(m("b1"))).toBe(true);
  },
);

test.for(styles)(
  "SessionRouter takes a sender that no longer waits out of the line, and its message with it (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1 });
    await rig.send(m("a1", { work: 10 }), m("a2"));
    const abort = new AbortController();
    const aborted = rig.router.send(m("a3"), { signal: abort.signal });
    const task = createTask(() => rig.router.send(m("a4")));
    const last = rig.router.send(m("a5"));
    await rig.clock.settle();
    abort.abort(new Error("enough"));
    task.cancel();
    await expect(aborted).rejects.toThrow("enough");
    await expect(task).rejects.toThrow("Cancelled");
    await rig.clock.advance(10);
    await last;
    expect(rig.done).toEqual(["a1", "a2", "a5"]);
    expect(rig.router.statistics()).toMatchObject({ handled: 3, held: { messages: 0 }, queued: 0 });
  },
);

test.for(styles)(
  "SessionRouter refuses a message that finds the inbox full with overflow reject (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1, overflow: "reject" });
    await rig.send(m("a1", { work: 10 }));
    await rig.send(m("a2"));
    await expect(rig.router.send(m("a3"))).rejects.toThrow(new InboxFullError("a", 1));
    await expect(rig.router.call(m("a3"))).rejects.toThrow(InboxFullError);
    expect(rig.router.trySend(m("a3"))).toBe(false);
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.router.statistics()).toMatchObject({
      deadLettered: 0,
      dropped: 0,
      held: { messages: 0 },
    });
  },
);

test.for(styles)(
  "SessionRouter dead-letters a consumed message as full with overflow reject (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1, overflow: "reject" });
    await rig.consume([m("a1", { work: 10 })]);
    await rig.push(m("a2"), m("a3"), m("b1"));
    expect(rig.fates).toEqual(["a3 dead full", "b1 done"]);
    expect(rig.source?.outcomes[0]?.letter?.error).toBeInstanceOf(InboxFullError);
  },
);

test.for(styles)(
  "SessionRouter drops and counts the oldest or the newest, never an end message (%s)",
  async (style) => {
    for (const overflow of ["dropOldest", "dropNewest"] as const) {
      const rig = new Rig(style, { inboxSize: 2, overflow });
      await rig.consume([m("a1", { work: 10 })]);
      await rig.push(m("a2"), m("a3"), m("a4"), m("a5", { end: true }));
      const dropped = overflow === "dropOldest" ? ["a2 done", "a3 done"] : ["a4 done"];
      expect(rig.fates).toEqual(dropped);
      expect(rig.router.statistics().dropped).toBe(dropped.length);
      await rig.clock.advance(10);
      expect(rig.done).toEqual(
        overflow === "dropOldest" ? ["a1", "a4", "a5"] : ["a1", "a2", "a3", "a5"],
      );
      expect(rig.told).toEqual(["ended a ended"]);
      expect(rig.router.statistics()).toMatchObject({ deadLettered: 0, held: { messages: 0 } });
    }
  },
);

test.for(styles)(
  "SessionRouter keeps end messages that alone fill an inbox, and drops what comes behind (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1, overflow: "dropOldest" });
    await rig.send(m("a1", { work: 10 }));
    await rig.send(m("a2", { end: true }), m("a3"), m("a4", { end: true }));
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1", "a2", "a4"]);
    expect(rig.router.statistics()).toMatchObject({ dropped: 1, ended: { ended: 2 } });
  },
);

test.for(styles)(
  "SessionRouter lets senders wait for nothing when it drops (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1, overflow: "dropNewest" });
    await rig.send(m("a1", { work: 10 }));
    await rig.send(m("a2"));
    await rig.router.send(m("a3"));
    expect(rig.router.trySend(m("a4"))).toBe(true);
    expect(rig.router.statistics().dropped).toBe(2);
  },
);

test.for(styles)(
  "SessionRouter does not wait for one key's room when it consumes: other keys go on (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1, maxHeld: 100 });
    const slow = Array.from({ length: 20 }, (_, n) => m(`a${n}`, { work: 10 }));
    await rig.consume([...slow, m("b1"), m("c1")]);
    expect(rig.done).toEqual(["b1", "c1"]);
    expect(rig.router.statistics()).toMatchObject({
      queued: 19,
      held: { messages: 20, keys: [{ key: "a", messages: 20 }] },
    });
    await rig.clock.advance(200);
    expect(rig.done.slice(2)).toEqual(slow.map(({ name }) => name));
  },
);

test.for(styles)(
  "SessionRouter reads no more than maxHeld from a source, and goes on as messages leave (%s)",
  async (style) => {
    const rig = new Rig(style, { maxHeld: 3 });
    let read = 0;
    function* endless(): Generator<Message> {
      for (;;) yield m(`a${++read}`, { work: 10 });
    }
    void rig.router.consume(endless());
    await rig.clock.settle();
    expect(read).toBe(3);
    expect(rig.router.statistics().held.messages).toBe(3);
    await rig.clock.advance(10);
    expect(read).toBeGreaterThanOrEqual(4);
    for (let turn = 0; turn < 20; turn++) {
      await rig.clock.advance(10);
      expect(rig.router.statistics().held.messages).toBeLessThanOrEqual(3);
      expect(rig.router.statistics().held.messages).toBeGreaterThan(0);
    }
    expect(rig.done.length).toBeGreaterThan(10);
  },
);

test.for(styles)("SessionRouter holds 65,536 messages by default (%s)", async (style) => {
  const rig = new Rig(style, { inboxSize: 100_000 });
  await rig.send(m("a0", { work: 10 }));
  let accepted = 1;
  while (accepted < 70_000 && rig.router.trySend(m("a1"))) accepted++;
  expect(accepted).toBe(65_536);
  expect(rig.router.trySend(m("b1"))).toBe(false);
  expect(rig.router.why("a")).toContain("The router is full: it holds 65536 messages");
});

test.for(styles)(
  "SessionRouter makes senders of every key wait at maxHeld, first come first served (%s)",
  async (style) => {
    const rig = new Rig(style, { maxHeld: 2 });
    const sent: string[] = [];
    for (const message of [m("a1", { work: 10 }), m("b1", { work: 20 }), m("c1"), m("d1")]) {
      void rig.router.send(message).then(() => sent.push(message.name));
    }
    await rig.clock.settle();
    expect(sent).toEqual(["a1", "b1"]);
    expect(rig.router.trySend(m("e1"))).toBe(false);
    await rig.clock.advance(10);
    expect(sent).toEqual(["a1", "b1", "c1", "d1"]);
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1", "c1", "d1", "b1"]);
  },
);

test.for(styles)(
  "SessionRouter takes a sender that waits for maxHeld out of its line when it is aborted (%s)",
  async (style) => {
    const rig = new Rig(style, { maxHeld: 1 });
    await rig.send(m("a1", { work: 10 }));
    const abort = new AbortController();
    const aborted = rig.router.send(m("b1"), { signal: abort.signal });
    const last = rig.router.send(m("c1"));
    abort.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    await rig.clock.advance(10);
    await last;
    expect(rig.done).toEqual(["a1", "c1"]);
  },
);

test.for(styles)(
  "SessionRouter lets a handler send to another key beyond maxHeld: its room might be its own (%s)",
  async (style) => {
    const rig: Rig = new Rig(style, {
      maxHeld: 1,
      async work(message) {
        if (message.name === "a1") await rig.router.send(m("b1"));
      },
    });
    await rig.send(m("a1"));
    expect(rig.done.toSorted()).toEqual(["a1", "b1"]);
  },
);

test.for(styles)(
  "SessionRouter asks only that partition to wait that fills its share, where credit is by partition (%s)",
  async (style) => {
    const rig = new Rig(style, { maxHeld: 4, idleMs: 1_000 });
    let [read, other] = [0, 0];
    function* endless(): Generator<Message> {
      for (let n = 0; n < 40; n++) {
        yield m(`a${++read}`, { work: 1_000 });
        yield m(`b${++other}`);
      }
    }
    await rig.consume([...endless()], { partitions: (message) => message.key });
    expect(rig.began.filter((name) => name.startsWith("a"))).toHaveLength(1);
    expect(rig.done).toHaveLength(40);
    expect(rig.router.statistics().held).toEqual({
      messages: 2,
      keys: [{ key: "a", messages: 2 }],
    });
  },
);

test("SessionRouter refuses a handler's send to its own full inbox, and takes it while there is room", async () => {
  const rig = new Rig("async");
  for (const style of ["loop", "message"] as const) {
    const errors: unknown[] = [];
    const handle = async (message: Message): Promise<void> => {
      if (message.name !== "a1") return;
      await router.send(m("a2"));
      await router.send(m("a3")).catch((error: unknown) => errors.push(error));
      await router.call(m("a4")).catch((error: unknown) => errors.push(error));
      await router.send(m("b1"));
    };
    const router: SessionRouter<Message, string, undefined, unknown> = new SessionRouter<
      Message,
      string,
      undefined,
      unknown
    >({
      key: (message) => message.key,
      clock: rig.clock,
      inboxSize: 1,
      ...(style === "loop"
        ? {
            async session(session) {
              for await (const message of session) await handle(message);
            },
          }
        : { message: handle }),
    });
    void router.send(m("a1"));
    await rig.clock.settle();
    expect(errors).toEqual([new SelfSendError("a", "send"), new SelfSendError("a", "call")]);
    expect(router.statistics()).toMatchObject({ handled: 3, held: { messages: 0 } });
  }
});

test("SessionRouter lets somebody else's send to the same key wait, while a handler's is refused", async () => {
  const rig = new Rig("async", {
    inboxSize: 1,
    async work(message) {
      if (message.name === "a1") await sleep(10);
    },
  });
  await rig.send(m("a1"), m("a2"), m("a3"));
  expect(rig.log).toEqual(["a1"]);
  await rig.clock.advance(10);
  expect(rig.done).toEqual(["a1", "a2", "a3"]);
});

test.for(styles)(
  "SessionRouter says how much it holds, how long the oldest waits, and who holds most (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1 });
    await rig.consume([m("a1", { work: 100 }), m("a2"), m("a3"), m("b1", { work: 100 })]);
    await rig.clock.advance(30);
    expect(rig.router.statistics()).toMatchObject({
      live: 2,
      running: 2,
      queued: 2,
      oldestMs: 30,
      held: {
        messages: 4,
        keys: [
          { key: "a", messages: 3 },
          { key: "b", messages: 1 },
        ],
      },
    });
    await rig.clock.advance(70);
    expect(rig.router.statistics()).toMatchObject({
      queued: 0,
      oldestMs: 0,
      held: { messages: 0, keys: [] },
    });
  },
);

test.for(styles)(
  "SessionRouter joins when all that was accepted is handled, and not before (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 1 });
    await rig.router.join();
    await rig.send(m("a1", { work: 10 }), m("a2", { work: 10 }), m("a3", { work: 10 }));
    let joined = false;
    void rig.router.join().then(() => (joined = true));
    await rig.clock.advance(29);
    expect(joined).toBe(false);
    await rig.clock.advance(1);
    expect(joined).toBe(true);
    expect(rig.router.statistics().live).toBe(1);
    await rig.send(m("a4", { work: 10 }));
    const abort = new AbortController();
    const aborted = rig.router.join({ signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
  },
);
