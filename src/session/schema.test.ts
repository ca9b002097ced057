// A Standard Schema in front of the router.
import { expect, test } from "vitest";
import { memorySource } from "../broker/memory/index.ts";
import { deferred } from "../message/test-support/host.ts";
import { InvalidMessageError } from "./errors.ts";
import type { StandardResult, StandardSchemaV1 } from "./standard-schema.ts";
import { m, Rig, styles, type Message } from "./test-support/rig.ts";

function schemaOf(
  validate: (value: unknown) => StandardResult<Message> | Promise<StandardResult<Message>>,
): StandardSchemaV1<unknown, Message> {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

/** Takes messages whose name does not end with "?", and marks what it has seen. */
function judge(value: unknown): StandardResult<Message> {
  const message = value as Message;
  if (!message.name.endsWith("?")) return { value: { ...message, name: `${message.name} ok` } };
  return {
    issues: [
      { message: "ends with a question mark", path: ["name", { key: 0 }] },
      { message: "no such message" },
    ],
  };
}

const issuesText =
  "Cannot route a message: it does not fit the schema: name.0: ends with a question mark; no such message";

test.for(styles)(
  "SessionRouter hands over what the schema makes of a message (%s)",
  async (style) => {
    const rig = new Rig(style, { schema: schemaOf(judge) });
    expect(rig.router.trySend(m("a1"))).toBe(true);
    await rig.router.send(m("a2"));
    await rig.router.call(m("b1"));
    await rig.router.consume([m("c1")]);
    expect(rig.done.toSorted()).toEqual(["a1 ok", "a2 ok", "b1 ok", "c1 ok"]);
  },
);

test.for(styles)(
  "SessionRouter throws the issues to the sender, and dead-letters a consumed message as invalid (%s)",
  async (style) => {
    const rig = new Rig(style, { schema: schemaOf(judge) });
    expect(() => rig.router.trySend(m("a1?"))).toThrow(new InvalidMessageError(issuesText));
    await expect(rig.router.send(m("a1?"))).rejects.toThrow(issuesText);
    await expect(rig.router.call(m("a1?"))).rejects.toThrow(InvalidMessageError);
    const source = await rig.consume([m("a1?"), m("a2")]);
    source.end();
    await rig.consuming;
    expect(source.outcomes).toMatchObject([
      { outcome: "dead", letter: { reason: "invalid", message: m("a1?"), key: undefined } },
      { outcome: "done" },
    ]);
    expect(source.outcomes[0]?.letter?.error).toMatchObject({
      message: issuesText,
      cause: [{}, {}],
    });
    expect(rig.router.statistics()).toMatchObject({
      invalid: 1,
      handled: 1,
      held: { messages: 0 },
    });
  },
);

test.for(styles)(
  "SessionRouter keeps the order while a schema takes its time (%s)",
  async (style) => {
    const gate = deferred<void>();
    const rig = new Rig(style, {
      schema: schemaOf(async (value) => {
        const message = value as Message;
        if (message.name === "a1") await gate.promise;
        return judge(message);
      }),
    });
    const source = memorySource([m("a1"), m("a2"), m("a?"), m("b1")]);
    const consuming = rig.router.consume(source);
    await rig.clock.settle();
    void rig.router.send(m("a3"));
    await rig.clock.settle();
    expect(rig.began).toEqual([]);
    gate.resolve();
    await consuming;
    await rig.clock.settle();
    expect(rig.done.filter((name) => name.startsWith("a"))).toEqual(["a1 ok", "a2 ok", "a3 ok"]);
    expect(rig.done).toContain("b1 ok");
    expect(source.outcomes.map(({ outcome }) => outcome).toSorted()).toEqual([
      "dead",
      "done",
      "done",
      "done",
    ]);
  },
);

test("SessionRouter refuses trySend with a schema that takes its time, and accepts nothing", async () => {
  const rig = new Rig("async", { schema: schemaOf(async (value) => judge(value)) });
  expect(() => rig.router.trySend(m("a1"))).toThrow(
    new TypeError(
      "Cannot trySend: the schema validates asynchronously; use send, which waits for it",
    ),
  );
  await rig.clock.settle();
  expect(rig.router.statistics()).toMatchObject({ started: 0, held: { messages: 0 } });
});

test.for(styles)(
  "SessionRouter takes what a schema throws for an invalid message (%s)",
  async (style) => {
    for (const slow of [false, true]) {
      const broken = new Error("the schema is broken");
      const rig = new Rig(style, {
        schema: schemaOf((value) => {
          if ((value as Message).name !== "a1") return judge(value);
          if (slow) return Promise.reject(broken);
          throw broken;
        }),
      });
      await expect(rig.router.send(m("a1"))).rejects.toBe(broken);
      await expect(rig.router.call(m("a1"))).rejects.toBe(broken);
      const source = await rig.consume([m("a1"), m("a2")]);
      expect(rig.fates.map((fate) => fate.split(" ").at(-1))).toEqual(["invalid", "done"]);
      expect(source.outcomes[0]?.letter?.error).toBe(broken);
      expect(rig.done).toEqual(["a2 ok"]);
    }
  },
);

test.for(styles)(
  "SessionRouter waits in a drain for what is being validated, and loses none of it (%s)",
  async (style) => {
    const gate = deferred<void>();
    const rig = new Rig(style, {
      schema: schemaOf(async (value) => {
        await gate.promise;
        return judge(value);
      }),
    });
    const source = await rig.consume([m("a1"), m("b1")]);
    const draining = rig.router.drain();
    await rig.clock.settle();
    expect(rig.router.statistics().state).toBe("draining");
    gate.resolve();
    await draining;
    expect(rig.done).toEqual(["a1 ok", "b1 ok"]);
    expect(source.outcomes.map(({ outcome }) => outcome)).toEqual(["done", "done"]);
  },
);

test.for(styles)(
  "SessionRouter refuses a send that is still being validated when it drains (%s)",
  async (style) => {
    const rig: Rig = new Rig(style, {
      schema: schemaOf(async (value) => {
        await new Promise<void>((resolve) => rig.clock.wakeAfter(10, resolve));
        return judge(value);
      }),
    });
    const sent = rig.router.send(m("a1")).catch((error: unknown) => (error as Error).name);
    const report = await rig.drain();
    expect(await sent).toBe("RouterClosedError");
    expect(report).toMatchObject({ pending: 0, deadLettered: 0 });
    expect(rig.began).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter counts what is being validated against maxHeld (%s)",
  async (style) => {
    const gates: (() => void)[] = [];
    let read = 0;
    function* endless(): Generator<Message> {
      for (;;) yield m(`a${++read}`);
    }
    const rig = new Rig(style, {
      maxHeld: 3,
      schema: schemaOf(async (value) => {
        await new Promise<void>((resolve) => gates.push(resolve));
        return judge(value);
      }),
    });
    void rig.router.consume(endless());
    await rig.clock.settle();
    expect(read).toBe(3);
    for (const open of gates.splice(0)) open();
    await rig.clock.settle();
    expect(rig.done).toEqual(["a1 ok", "a2 ok", "a3 ok"]);
    expect(read).toBe(6);
  },
);

test.for(styles)(
  "SessionRouter gives up what is still being validated at the deadline of a drain (%s)",
  async (style) => {
    const gate = deferred<void>();
    const rig = new Rig(style, {
      graceMs: 10,
      schema: schemaOf(async (value) => {
        await gate.promise;
        return judge(value);
      }),
    });
    await rig.consume([m("a1"), m("a2")]);
    const report = await rig.drain(50);
    expect(rig.clock.now()).toBe(1_000_060);
    expect(report.pending).toBe(0);
    gate.resolve();
    await rig.clock.settle();
    expect(rig.began).toEqual([]);
    expect(rig.fates).toEqual(["a1 dead drained", "a2 dead drained"]);
    expect(rig.router.statistics()).toMatchObject({ state: "closed", live: 0, started: 0 });
  },
);
