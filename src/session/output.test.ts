// `output`: what handlers return.
import { expect, test } from "vitest";
import { sleep } from "../task/sleep.ts";
import { m, messageStyles, Rig } from "./test-support/rig.ts";

test.for(messageStyles)(
  "SessionRouter gives output what a call returns, unless it is undefined, before the delivery is settled (%s)",
  async (style) => {
    const outputs: unknown[] = [];
    const rig = new Rig(style, {
      work: (message) =>
        message.name === "a2" ? undefined : message.name === "a3" ? null : message.name,
      async output(value, session) {
        outputs.push([session.key, value, session.delivery?.id]);
        if (value === "a1") await sleep(10);
      },
    });
    await rig.consume([m("a1"), m("a2"), m("a3")]);
    expect(rig.fates).toEqual([]);
    await rig.clock.advance(10);
    expect(rig.fates).toEqual(["a1 done", "a2 done", "a3 done"]);
    expect(outputs).toEqual([
      ["a", "a1", "1"],
      ["a", null, "3"],
    ]);
  },
);

test("SessionRouter gives output what a loop returns, once for a session", async () => {
  const outputs: unknown[] = [];
  const rig = new Rig("loop", {
    after: (session) => `result of ${session.key}`,
    async output(value) {
      await sleep(10);
      outputs.push(value);
    },
  });
  await rig.send(m("a1"), m("a2", { end: true }), m("b1"));
  expect(rig.told).toEqual([]);
  await rig.clock.advance(10);
  expect(rig.told).toEqual(["ended a ended"]);
  rig.router.cancel("b");
  await rig.clock.advance(10);
  expect(outputs).toEqual(["result of a"]);
});

test.for(messageStyles)(
  "SessionRouter tries the message again whose output failed (%s)",
  async (style) => {
    for (const slow of [false, true]) {
      let tries = 0;
      const rig = new Rig(style, {
        retryDelayMs: () => 10,
        work: (message) => message.name,
        output() {
          if (++tries > 2) return undefined;
          const error = new Error("no disk");
          if (slow) return Promise.reject(error);
          throw error;
        },
      });
      await rig.consume([m("a1")]);
      await rig.clock.advance(20);
      expect(rig.began).toEqual(["a1", "a1", "a1"]);
      expect(rig.fates).toEqual(["a1 done"]);
      expect(rig.router.statistics().retried).toBe(2);
    }
  },
);

test("SessionRouter fails a loop whose output failed after its session was over", async () => {
  const rig = new Rig("loop", {
    after: () => "result",
    output: () => Promise.reject(new Error("no disk")),
  });
  await rig.send(m("a1", { end: true }));
  expect(rig.told).toEqual(["ended a failed (no disk)"]);
});
