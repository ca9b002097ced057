// `call`: a message, and the handler's answer to it.
import { expect, test } from "vitest";
import { CancelledError } from "../task/errors.ts";
import { createTask } from "../task/task.ts";
import { sleep } from "../task/sleep.ts";
import { errorOf } from "../task/test-support/settle.ts";
import { NotHandledError, RouterClosedError } from "./errors.ts";
import { m, messageStyles, Rig, styles } from "./test-support/rig.ts";

test.for(messageStyles)(
  "SessionRouter gives a caller what the handler returned for its message (%s)",
  async (style) => {
    const rig = new Rig(style, { work: (message) => `answer to ${message.name}` });
    const answers = ["a1", "b1", "a2"].map((name) => rig.router.call(m(name)));
    expect(await Promise.all(answers)).toEqual(["answer to a1", "answer to b1", "answer to a2"]);
    const slow = rig.router.call(m("a3", { work: 10 }));
    await rig.clock.advance(10);
    expect(await slow).toBe("answer to a3");
  },
);

test("SessionRouter lets a caller wait until a loop asks for the next message; the last one gets what the loop returned", async () => {
  const rig = new Rig("loop", { work: () => sleep(10), after: () => "result" });
  let answered: unknown = "not yet";
  void rig.router.call(m("a1")).then((value) => (answered = value));
  await rig.clock.advance(9);
  expect(answered).toBe("not yet");
  await rig.clock.advance(1);
  expect(answered).toBeUndefined();
});

test.for(styles)(
  "SessionRouter gives a caller the answer of the try that succeeded, and the error of the last one otherwise (%s)",
  async (style) => {
    const rig = new Rig(style, { attempts: 2, retryDelayMs: () => 10, onExhausted: "deadLetter" });
    const good = rig.router.call(m("a1", { fails: 1 }));
    const bad = errorOf(rig.router.call(m("b1", { fails: 2 })));
    await rig.clock.advance(10);
    await good;
    expect(await bad).toEqual(new Error("b1 failed"));
  },
);

test.for(styles)(
  "SessionRouter tells a caller what became of its message instead (%s)",
  async (style) => {
    const rig = new Rig(style, {
      starts: (message) => message.start === true,
      overflow: "dropNewest",
      inboxSize: 1,
    });
    const late = errorOf(rig.router.call(m("b1")));
    const cancelled = errorOf(rig.router.call(m("a1", { start: true, work: 1_000 })));
    await rig.clock.settle();
    const next = rig.router.call(m("a2", { start: true }));
    const dropped = errorOf(rig.router.call(m("a3")));
    expect(await dropped).toEqual(new NotHandledError("a", "dropped"));
    expect(await late).toEqual(new NotHandledError("b", "late"));
    rig.router.cancel("a");
    expect(await cancelled).toEqual(new NotHandledError("a", "cancelled"));
    await rig.clock.settle();
    rig.router.session("a")?.end();
    await next;
  },
);

test.for(styles)(
  "SessionRouter tells a caller of a second start that it is a duplicate (%s)",
  async (style) => {
    const rig = new Rig(style, {
      starts: (message) => message.start === true,
      duplicateStart: "deadLetter",
    });
    await rig.send(m("a1", { start: true }));
    expect(await errorOf(rig.router.call(m("a2", { start: true })))).toEqual(
      new NotHandledError("a", "duplicateStart"),
    );
  },
);

test.for(styles)(
  "SessionRouter tells callers when a drain gives their messages up, and refuses new ones (%s)",
  async (style) => {
    const rig = new Rig(style);
    const running = errorOf(rig.router.call(m("a1", { work: 1_000 })));
    const queued = errorOf(rig.router.call(m("a2")));
    await rig.clock.settle();
    await rig.drain(10);
    expect(await running).toEqual(new NotHandledError("a", "drained"));
    expect(await queued).toEqual(new NotHandledError("a", "drained"));
    expect(await errorOf(rig.router.call(m("a3")))).toBeInstanceOf(RouterClosedError);
  },
);

test.for(styles)(
  "SessionRouter handles a called message although its caller waits no longer (%s)",
  async (style) => {
    const rig = new Rig(style);
    const abort = new AbortController();
    const aborted = errorOf(rig.router.call(m("a1", { work: 10 }), { signal: abort.signal }));
    const task = createTask(() => rig.router.call(m("b1", { work: 10 })));
    await rig.clock.settle();
    abort.abort(new Error("enough"));
    task.cancel();
    expect(await aborted).toEqual(new Error("enough"));
    expect(await errorOf(task)).toBeInstanceOf(CancelledError);
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1", "b1"]);
  },
);

test.for(styles)(
  "SessionRouter takes a called message that still waited for room out of the line with its caller (%s)",
  async (style) => {
    for (const bound of [{ inboxSize: 1 }, { maxHeld: 2 }]) {
      const rig = new Rig(style, bound);
      await rig.send(m("a1", { work: 10 }));
      await rig.send(m("a2"));
      const abort = new AbortController();
      const aborted = errorOf(rig.router.call(m("a3"), { signal: abort.signal }));
      await rig.clock.settle();
      abort.abort(new Error("enough"));
      expect(await aborted).toEqual(new Error("enough"));
      await rig.clock.advance(10);
      expect(rig.done).toEqual(["a1", "a2"]);
      expect(rig.router.statistics()).toMatchObject({ queued: 0, held: { messages: 0 } });
    }
  },
);

test.for(messageStyles)(
  "SessionRouter lets a handler call another key, and gives it the answer (%s)",
  async (style) => {
    const rig: Rig = new Rig(style, {
      async work(message) {
        if (message.name !== "a1") return message.name;
        return `a1 and ${String(await rig.router.call(m("b1")))}`;
      },
    });
    expect(await rig.router.call(m("a1"))).toBe("a1 and b1");
  },
);

test.for(messageStyles)(
  "SessionRouter gives callers their answers after output has taken the value (%s)",
  async (style) => {
    const log: string[] = [];
    const rig = new Rig(style, {
      work: (message) => message.name,
      async output(value, session) {
        await sleep(10);
        log.push(`${session.key}: ${String(value)}`);
      },
    });
    const answer = rig.router.call(m("a1")).then((value) => log.push(`answer ${String(value)}`));
    await rig.clock.advance(10);
    await answer;
    expect(log).toEqual(["a: a1", "answer a1"]);
  },
);
