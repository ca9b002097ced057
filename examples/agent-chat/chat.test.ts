// The chats on virtual time, with a line that is no socket.
import { allTasks, currentTask, sleep } from "heddle";
import { runVirtual } from "heddle/testing";
import { channel } from "node:diagnostics_channel";
import { expect, test } from "vitest";
import { chatRouter, type ChatOptions, type ChatRouter, type Line } from "./chat.ts";
import { fakeModel, fakeTools, memoryHistories } from "./model.ts";
import type { Message, ServerEvent, ToolMessage } from "./protocol.ts";

class FakeLine implements Line {
  readonly events: ServerEvent[] = [];
  isClosed = false;
  readonly closed: Promise<void>;
  readonly close: () => void;

  constructor() {
    let resolveClosed = (): void => {};
    this.closed = new Promise((resolve) => (resolveClosed = resolve));
    this.close = () => {
      this.isClosed = true;
      resolveClosed();
    };
  }

  send(event: ServerEvent): void {
    // As it goes over the line: a copy of this moment.
    if (!this.isClosed) this.events.push(structuredClone(event));
  }

  get text(): string {
    return this.events.map((event) => (event.type === "token" ? event.text : "")).join("");
  }

  get tools(): string[] {
    return this.events.flatMap((event) =>
      event.type === "tool" ? [`${event.message.tool} ${event.message.state}`] : [],
    );
  }

  get turns(): boolean[] {
    return this.events.flatMap((event) => (event.type === "turnOver" ? [event.complete] : []));
  }

  get history(): readonly Message[] {
    const [first] = this.events;
    if (first?.type !== "history") throw new Error("The first event is no history");
    return first.messages;
  }
}

const tokenMs = 10;
const toolMs = 500;
const bookingQuestion = "Please book me a train.";
// Just after ten tokens, and after two tools besides: until a turn that books asks.
const untilWrittenMs = 10 * tokenMs + 1;
const untilAskedMs = untilWrittenMs + 2 * toolMs;

class Chats {
  readonly router: ChatRouter;
  readonly options: ChatOptions;

  constructor(options: Partial<ChatOptions> = {}) {
    this.options = {
      model: fakeModel(tokenMs),
      tools: fakeTools(toolMs),
      histories: memoryHistories(),
      ...options,
    };
    this.router = chatRouter(this.options);
  }

  async connect(chat = "trip"): Promise<FakeLine> {
    const line = new FakeLine();
    await this.router.send({ chat, type: "connected", line });
    await sleep(1);
    return line;
  }

  async say(text: string, chat = "trip"): Promise<void> {
    await this.router.send({ chat, type: "user", text });
  }

  async answer(granted: boolean, call: string): Promise<void> {
    await this.router.send({ chat: "trip", type: "approval", call, granted });
  }

  /** Drains, and looks whether anything is left. */
  async end(): Promise<void> {
    expect(await this.router.drain({ deadlineMs: 5_000 })).toMatchObject({ pending: 0 });
    expect(this.router.statistics()).toMatchObject({ live: 0, leftovers: 0, overdue: 0 });
    expect(allTasks()).toEqual([currentTask()]);
  }
}

function askingCall(messages: readonly Message[]): string {
  const asking = messages.find((message) => message.role === "tool" && message.state === "asking");
  return (asking as ToolMessage).call;
}

function statesOf(messages: readonly Message[]): string[] {
  return messages.map((message) =>
    message.role === "user"
      ? "user"
      : `${message.role === "tool" ? message.tool : "agent"} ${message.state}`,
  );
}

test("A turn streams its text, uses its tools in order and waits for the approval", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const line = await chats.connect();
    expect(line.events).toEqual([{ type: "history", messages: [] }]);
    await chats.say(bookingQuestion);

    await sleep(untilWrittenMs);
    expect(line.text).toBe("I look at the weather and at the trains first.");
    await sleep(2 * toolMs);
    expect(line.tools).toEqual([
      "forecast running",
      "forecast done",
      "trains running",
      "trains done",
      "book asking",
    ]);
    await sleep(5 * 60_000 - 10);
    expect(line.turns).toEqual([]);

    await chats.answer(true, askingCall(chats.router.session("trip")!.state));
    await sleep(toolMs + 1);
    expect(line.tools.slice(5)).toEqual(["book running", "book done"]);
    await sleep(1_000);
    expect(line.turns).toEqual([true]);
    expect(line.text).toContain("it is done: seat 14 in coach 5, 08:25.");
    await chats.end();
  }));

test("A call that is denied is not made, and the model is told", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const line = await chats.connect();
    await chats.say(bookingQuestion);
    await sleep(untilAskedMs);
    await chats.answer(false, askingCall(chats.router.session("trip")!.state));
    await sleep(1_000);
    expect(line.tools.at(-1)).toBe("book denied");
    expect(line.text).toContain("I have booked nothing.");
    expect(line.turns).toEqual([true]);
    await chats.end();
  }));

test("An approval for another call, or given twice, grants nothing", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const line = await chats.connect();
    await chats.say(bookingQuestion);
    await sleep(untilAskedMs);
    const call = askingCall(chats.router.session("trip")!.state);
    await chats.answer(true, "another");
    await sleep(1_000);
    expect(line.tools.at(-1)).toBe("book asking");

    await Promise.all([chats.answer(true, call), chats.answer(true, call)]);
    await sleep(5_000);
    expect(line.turns).toEqual([true]);
    await chats.say(bookingQuestion);
    await sleep(5_000);
    expect(line.tools.at(-1)).toBe("book asking");
    await chats.end();
  }));

test("A new message of the user interrupts the turn while the model writes", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const line = await chats.connect();
    await chats.say("Tell me about Bergen.");
    await sleep(3 * tokenMs + 1);
    await chats.say("Enough.");
    await sleep(1_000);
    expect(line.text).toBe("Bergen lies between You are welcome.");
    expect(line.turns).toEqual([false, true]);
    expect(chats.router.session("trip")?.state).toEqual([
      { role: "user", text: "Tell me about Bergen." },
      { role: "agent", text: "Bergen lies between ", state: "interrupted" },
      { role: "user", text: "Enough." },
      { role: "agent", text: "You are welcome.", state: "done" },
    ]);
    await chats.end();
  }));

test.for([
  {
    when: "while a tool is used",
    afterMs: untilWrittenMs + 100,
    states: ["interrupted", "interrupted"],
  },
  { when: "while it waits for an approval", afterMs: untilAskedMs, states: ["done", "done"] },
])("A new message of the user interrupts the turn $when", ({ afterMs, states }) =>
  runVirtual(async () => {
    const chats = new Chats();
    const line = await chats.connect();
    await chats.say(bookingQuestion);
    await sleep(afterMs);
    await chats.say("Enough.");
    await sleep(1_000);
    expect(line.turns).toEqual([false, true]);
    expect(statesOf(chats.router.session("trip")!.state)).toEqual([
      "user",
      "agent done",
      `forecast ${states[0]}`,
      `trains ${states[1]}`,
      "book interrupted",
      "user",
      "agent done",
    ]);
    await chats.end();
  }),
);

test("A client that connects again within 30 s finds its session, and what came meanwhile", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const before = await chats.connect();
    await chats.say(bookingQuestion);
    await sleep(2 * tokenMs + 1);
    before.close();
    await sleep(untilAskedMs);

    const after = await chats.connect();
    expect(statesOf(after.history)).toEqual([
      "user",
      "agent done",
      "forecast done",
      "trains done",
      "book asking",
    ]);
    await chats.answer(true, askingCall(after.history));
    await sleep(5_000);
    expect(after.turns).toEqual([true]);
    expect(before.text).toBe("I look ");
    expect(chats.router.statistics().started).toBe(1);
    await chats.end();
  }));

test("A session without a line ends after 30 s and not before; the next one loads its history", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const first = await chats.connect();
    await chats.say("Thank you.");
    await sleep(1_000);
    first.close();
    await sleep(29_999);
    expect(chats.router.statistics().live).toBe(1);
    const second = await chats.connect();
    expect(chats.router.statistics().started).toBe(1);

    await sleep(3_600_000);
    expect(chats.router.statistics().live).toBe(1);
    second.close();
    await sleep(29_999);
    expect(chats.router.statistics().live).toBe(1);
    await sleep(2);
    expect(chats.router.statistics()).toMatchObject({ live: 0, ended: { idle: 1 } });

    const third = await chats.connect();
    expect(chats.router.statistics().started).toBe(2);
    expect(third.history).toEqual([
      { role: "user", text: "Thank you." },
      { role: "agent", text: "You are welcome.", state: "done" },
    ]);
    await chats.end();
  }));

test("A turn goes on without a line, asks in vain for 5 minutes, and the 30 s count from its end", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const line = await chats.connect();
    await chats.say(bookingQuestion);
    await sleep(1);
    line.close();
    await sleep(untilAskedMs + 5 * 60_000 - 10);
    const { state } = chats.router.session("trip")!;
    expect(statesOf(state).at(-1)).toBe("book asking");
    await sleep(10);
    expect(statesOf(state).slice(-2)).toEqual(["book failed", "agent writing"]);
    await sleep(29_990);
    expect(chats.router.statistics().live).toBe(1);
    await sleep(1_000);
    expect(chats.router.statistics()).toMatchObject({ live: 0, ended: { idle: 1 } });
    const kept = await chats.options.histories.load("trip");
    expect(kept.at(-2)).toMatchObject({
      state: "failed",
      result: expect.stringMatching(/^TimeoutError: /),
    });
    expect(kept.at(-1)).toMatchObject({ state: "done", text: "All right, I have booked nothing." });
    await chats.end();
  }));

test("A second line takes over from the first, which is closed", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const first = await chats.connect();
    const second = await chats.connect();
    expect([first.isClosed, second.isClosed]).toEqual([true, false]);
    await chats.say("Thank you.");
    await sleep(1_000);
    expect(first.turns).toEqual([]);
    expect(second.turns).toEqual([true]);
    // The first one's end is not the second one's.
    await sleep(60_000);
    expect(chats.router.statistics().live).toBe(1);
    await chats.end();
  }));

test.for([
  {
    how: "a bye",
    stop: (chats: Chats) => chats.router.send({ chat: "trip", type: "bye" }),
    reason: "ended",
  },
  {
    how: "a cancellation",
    stop: async (chats: Chats) => void chats.router.cancel("trip"),
    reason: "cancelled",
  },
  {
    how: "a drain",
    stop: async (chats: Chats) => void chats.router.drain({ deadlineMs: 1_000 }),
    reason: "drained",
  },
])("A session that ends by $how in the middle of a turn keeps its history", ({ stop, reason }) =>
  runVirtual(async () => {
    const chats = new Chats();
    const line = await chats.connect();
    await chats.say(bookingQuestion);
    await sleep(untilWrittenMs + 100);
    await stop(chats);
    await sleep(2_000);
    expect(line.isClosed).toBe(true);
    expect(chats.router.statistics()).toMatchObject({ live: 0, ended: { [reason]: 1 } });
    expect(statesOf(await chats.options.histories.load("trip"))).toEqual([
      "user",
      "agent done",
      "forecast interrupted",
      "trains interrupted",
      "book interrupted",
    ]);
    await chats.end();
  }),
);

test("A tool that fails or is not there is for the model to deal with", () =>
  runVirtual(async () => {
    const { forecast: _forecast, ...others } = fakeTools(toolMs);
    const trains = { use: () => Promise.reject(new Error("strike")) };
    const chats = new Chats({ tools: { ...others, trains } });
    const line = await chats.connect();
    await chats.say(bookingQuestion);
    await sleep(untilAskedMs);
    expect(line.tools).toEqual([
      "forecast failed",
      "trains running",
      "trains failed",
      "book asking",
    ]);
    const results = chats.router
      .session("trip")!
      .state.map((message) => (message.role === "tool" ? message.result : undefined));
    expect(results.slice(2, 4)).toEqual([
      'RangeError: there is no tool "forecast"',
      "Error: strike",
    ]);
    await chats.end();
  }));

test("A model that fails ends its turn, is reported, and leaves the chat alive", () =>
  runVirtual(async () => {
    const problems: string[] = [];
    const listen = (problem: unknown): void =>
      void problems.push((problem as { text: string }).text);
    channel("heddle:problem").subscribe(listen);
    let broken = true;
    const working = fakeModel(tokenMs);
    const chats = new Chats({
      async *model(history) {
        yield { type: "token", text: "Well, " };
        if (broken) throw new Error("overloaded");
        yield* working(history);
      },
    });
    const line = await chats.connect();
    await chats.say("Thank you.");
    await sleep(1_000);
    expect(line.turns).toEqual([false]);
    expect(problems).toEqual([expect.stringMatching(/of session "?trip"? has failed$/)]);

    broken = false;
    await chats.say("Thank you.");
    await sleep(1_000);
    expect(line.turns).toEqual([false, true]);
    await chats.end();
    channel("heddle:problem").unsubscribe(listen);
  }));

test("A chat whose history cannot be loaded closes its line, and may be tried again", () =>
  runVirtual(async () => {
    const kept = memoryHistories();
    let isDown = true;
    const load = (chat: string) =>
      isDown ? Promise.reject(new Error("no database")) : kept.load(chat);
    const chats = new Chats({ histories: { ...kept, load } });
    expect((await chats.connect()).isClosed).toBe(true);
    isDown = false;
    const line = await chats.connect();
    expect(line.isClosed).toBe(false);
    expect(line.history).toEqual([]);
    await chats.end();
  }));

test("Chats do not disturb each other, and what comes without a line is a dead letter", () =>
  runVirtual(async () => {
    const chats = new Chats();
    const [one, other] = [await chats.connect("one"), await chats.connect("other")];
    await chats.say("Tell me about Bergen.", "one");
    await chats.say("Thank you.", "other");
    await chats.say("Hello?", "nobody");
    await sleep(5_000);
    expect(one.text).toMatch(/^Bergen lies .* accounts\.$/);
    expect(other.text).toBe("You are welcome.");
    expect(chats.router.statistics()).toMatchObject({ started: 2, late: 1, deadLettered: 1 });
    await chats.end();
  }));
