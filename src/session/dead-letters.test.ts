// Messages that are given up: who gets them, what stands in a letter, and how
// they come back.
import { expect, test } from "vitest";
import { memorySource } from "../broker/memory/index.ts";
import type { DeadLetter } from "../message/delivery.ts";
import { sleep } from "../task/sleep.ts";
import { InboxFullError, NotHandledError, RouterClosedError } from "./errors.ts";
import { letterText, m, Rig, styles, type Message, type RigOptions } from "./test-support/rig.ts";

const giveUp: RigOptions = { attempts: 1, onExhausted: "deadLetter" };

test.for(styles)(
  "SessionRouter keeps the letters of sent messages itself, the last 1,000, oldest first (%s)",
  async (style) => {
    const rig = new Rig(style, { ...giveUp, inboxSize: 2_000 });
    for (let n = 1; n <= 1_001; n++) void rig.router.send(m(`a${n}`, { fails: 1 }));
    await rig.clock.settle();
    const letters = rig.router.letters();
    expect(letters).toHaveLength(1_000);
    expect([letters[0], letters.at(-1)].map((letter) => letterText(letter!))).toEqual([
      "a2 exhausted",
      "a1001 exhausted",
    ]);
    expect(rig.router.statistics().deadLettered).toBe(1_001);
  },
);

test.for(styles)(
  "SessionRouter writes everything into a letter that is needed to look at it (%s)",
  async (style) => {
    const rig = new Rig(style, {
      attempts: 2,
      retryDelayMs: () => 10,
      onExhausted: "deadLetter",
      deadLetter: (letter) => void letters.push(letter),
    });
    const letters: DeadLetter<Message, string>[] = [];
    await rig.consume([m("a1", { fails: 2 })]);
    await rig.send(m("a2", { fails: 2 }));
    await rig.clock.advance(20);
    const error = new Error("a1 failed");
    expect(letters[0]).toEqual({
      message: m("a1", { fails: 2 }),
      key: "a",
      reason: "exhausted",
      error,
      attempts: 2,
      at: 1_000_010,
      history: [
        { attempt: 1, error, at: 1_000_000 },
        { attempt: 2, error, at: 1_000_010 },
      ],
      delivery: {
        id: "1",
        attempt: 1,
        partition: "",
        headers: {},
        idempotencyKey: "memory:1",
        redelivered: false,
      },
    });
    expect(letters[1]).not.toHaveProperty("delivery");
    expect(Object.isFrozen(letters[0])).toBe(true);
    expect(rig.router.letters()).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter gives letters to the source where it keeps them, and to deadLetter where there is one (%s)",
  async (style) => {
    const own: string[] = [];
    const cases = [
      { options: {}, deadLetters: true, theirs: ["a1 exhausted"], kept: [] },
      { options: {}, deadLetters: false, theirs: [undefined], kept: ["a1 exhausted"] },
      {
        options: { deadLetter: (letter: DeadLetter<Message>) => void own.push(letterText(letter)) },
        deadLetters: true,
        theirs: [undefined],
        kept: [],
      },
      {
        options: { deadLetter: "drop" as const },
        deadLetters: true,
        theirs: [undefined],
        kept: [],
      },
    ];
    for (const { options, deadLetters, theirs, kept } of cases) {
      const rig = new Rig(style, { ...giveUp, ...options });
      const source = await rig.consume([m("a1", { fails: 1 })], { deadLetters, durable: false });
      expect(source.outcomes.map(({ outcome }) => outcome)).toEqual(["dead"]);
      const given = source.outcomes.map(
        ({ letter }) => letter && letterText(letter as DeadLetter<Message>),
      );
      expect(given).toEqual(theirs);
      expect(source.errors).toEqual([]);
      expect(rig.letters).toEqual(kept);
      expect(rig.router.statistics().deadLettered).toBe(1);
    }
    expect(own).toEqual(["a1 exhausted"]);
  },
);

test.for(styles)(
  "SessionRouter awaits deadLetter before the delivery is settled, and holds the message meanwhile (%s)",
  async (style) => {
    const rig = new Rig(style, { ...giveUp, deadLetter: () => sleep(50) });
    await rig.consume([m("a1", { fails: 1 }), m("a2")]);
    expect(rig.fates).toEqual(["a2 done"]);
    expect(rig.router.statistics().held.messages).toBe(1);
    let joined = false;
    void rig.router.join().then(() => (joined = true));
    await rig.clock.advance(49);
    expect(joined).toBe(false);
    await rig.clock.advance(1);
    expect(rig.fates).toEqual(["a2 done", "a1 dead"]);
    expect(joined).toBe(true);
  },
);

test.for(styles)(
  "SessionRouter tries deadLetter again when it throws, and reports it once (%s)",
  async (style) => {
    let tries = 0;
    const rig = new Rig(style, {
      ...giveUp,
      deadLetter() {
        tries++;
        if (tries === 1) throw new Error("no room");
        if (tries === 2) return Promise.reject(new Error("no room"));
        return undefined;
      },
    });
    await rig.consume([m("a1", { fails: 1 })]);
    expect(rig.fates).toEqual([]);
    await rig.clock.advance(10_000);
    expect(tries).toBe(3);
    expect(rig.fates).toEqual(["a1 dead"]);
    expect(rig.problems).toEqual([
      "Cannot dead-letter a message yet: deadLetter threw: Error: no room",
    ]);
    expect(rig.router.statistics()).toMatchObject({ deadLettered: 1, held: { messages: 0 } });
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter refuses a durable source that has no place for dead letters (%s)",
  async (style) => {
    const source = () => memorySource([m("a1")], { durable: true, deadLetters: false });
    const refusal =
      'Cannot consume memory: it is durable and has no place for dead letters; give the router deadLetter, or deadLetter: "drop" if they may be lost';
    const rig = new Rig(style);
    const refused = source();
    await expect(rig.router.consume(refused)).rejects.toThrow(refusal);
    await rig.clock.settle();
    expect(refused.unsettled).toBe(0);
    expect(rig.router.statistics().source).toBeUndefined();
    for (const deadLetter of ["drop", () => {}] as const) {
      await new Rig(style, { deadLetter }).router.consume(source());
    }
  },
);

test.for(styles)(
  "SessionRouter counts each reason, and says in the error why it gave the message up (%s)",
  async (style) => {
    const rig = new Rig(style, {
      starts: (message) => message.start === true,
      duplicateStart: "deadLetter",
      overflow: "reject",
      inboxSize: 1,
    });
    await rig.consume([m("a1", { start: true, work: 10 })]);
    await rig.push(m("b1"), m("a2", { start: true }), m("a3"));
    await rig.clock.advance(10);
    expect(rig.fates).toEqual([
      "b1 dead late",
      "a3 dead full",
      "a1 done",
      "a2 dead duplicateStart",
    ]);
    const errors = rig.source?.outcomes.flatMap(({ letter }) =>
      letter === undefined ? [] : [letter.error],
    );
    expect(errors).toEqual([
      new NotHandledError("b", "late"),
      new InboxFullError("a", 1),
      new NotHandledError("a", "duplicateStart"),
    ]);
    expect(rig.router.statistics()).toMatchObject({
      late: 1,
      deadLettered: 3,
      invalid: 0,
      dropped: 0,
    });
  },
);

test.for(styles)(
  "SessionRouter drops and counts late messages where it is told to (%s)",
  async (style) => {
    const rig = new Rig(style, { starts: (message) => message.start === true, late: "drop" });
    await rig.consume([m("a1"), m("a2", { start: true }), m("a3")]);
    expect(rig.fates).toEqual(["a1 done", "a2 done", "a3 done"]);
    expect(rig.done).toEqual(["a2", "a3"]);
    expect(rig.router.statistics()).toMatchObject({ late: 1, dropped: 1, deadLettered: 0 });
    await expect(rig.router.call(m("b1"))).rejects.toThrow(new NotHandledError("b", "dropped"));
  },
);

test.for(styles)(
  "SessionRouter sends a letter's message again and takes the letter out (%s)",
  async (style) => {
    let broken = true;
    const rig = new Rig(style, {
      ...giveUp,
      work() {
        if (broken) throw new Error("broken");
      },
    });
    await rig.send(m("a1"), m("b1"));
    expect(rig.letters).toEqual(["a1 exhausted", "b1 exhausted"]);
    broken = false;
    await rig.router.replay(rig.router.letters()[0]!);
    await rig.clock.settle();
    expect(rig.done).toEqual(["a1"]);
    expect(rig.letters).toEqual(["b1 exhausted"]);
  },
);

test.for(styles)(
  "SessionRouter replays a letter that it does not keep as well, and one that fails again makes a new one (%s)",
  async (style) => {
    const letters: DeadLetter<Message, string>[] = [];
    const rig = new Rig(style, { ...giveUp, deadLetter: (letter) => void letters.push(letter) });
    await rig.send(m("a1", { fails: 1 }));
    await rig.router.replay(letters[0]!);
    await rig.clock.settle();
    expect(letters.map(letterText)).toEqual(["a1 exhausted", "a1 exhausted"]);
  },
);

test.for(styles)(
  "SessionRouter keeps a letter that could not be sent again (%s)",
  async (style) => {
    const rig = new Rig(style, { ...giveUp, overflow: "reject", inboxSize: 1 });
    await rig.send(m("a1", { fails: 1 }));
    const [letter] = rig.router.letters();
    await rig.send(m("a2", { work: 10 }));
    await rig.send(m("a3"));
    await expect(rig.router.replay(letter!)).rejects.toThrow(InboxFullError);
    expect(rig.letters).toEqual(["a1 exhausted"]);
    await rig.drain();
    await expect(rig.router.replay(letter!)).rejects.toThrow(RouterClosedError);
    expect(rig.router.letters()).toEqual([letter]);
  },
);

test.for(styles)(
  "SessionRouter does not let a letter that is on its way hold up its key or another one (%s)",
  async (style) => {
    const rig = new Rig(style, { ...giveUp, deadLetter: () => sleep(1_000) });
    await rig.send(m("a1", { fails: 1 }), m("a2"), m("b1"));
    expect(rig.done.toSorted()).toEqual(["a2", "b1"]);
    expect(rig.router.statistics().held.messages).toBe(1);
  },
);
