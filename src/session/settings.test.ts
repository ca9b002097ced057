// Each bad option gives a clear error, and nothing was started.
import { expect, test } from "vitest";
import { VirtualClock } from "../testing/virtual-clock.ts";
import { defineSessions } from "./define.ts";
import { SessionRouter } from "./router.ts";

const good = { key: () => "a", message() {} };
const loop = { key: () => "a", async session() {} };
const timed = { ...good, time: () => 0 };

const positive = ["inboxSize", "maxHeld", "maxLive", "maxRunning", "attempts"] as const;
const durations = ["idleMs", "graceMs", "drainMs"] as const;
const functions = [
  "key",
  "starts",
  "ends",
  "ended",
  "stopped",
  "state",
  "output",
  "time",
  "interrupts",
  "retryDelayMs",
] as const;
const words = {
  overflow: '"wait" or "reject" or "dropOldest" or "dropNewest"',
  evict: '"idlest"',
  late: '"deadLetter" or "drop"',
  duplicateStart: '"deliver" or "replace" or "deadLetter"',
  onExhausted: '"deadLetter" or "park" or "end"',
  ack: '"message" or "session"',
};

type Case = readonly [options: unknown, error: Error];
const range = (text: string): RangeError => new RangeError(`Cannot make a router: ${text}`);
const type = (text: string): TypeError => new TypeError(`Cannot make a router: ${text}`);

const cases: readonly Case[] = [
  ...positive.flatMap((name) =>
    [0, -1, 1.5, NaN, "5"].map((value): Case => [
      { ...good, [name]: value },
      range(
        `${name} must be a whole number >= 1, current value is ${typeof value === "string" ? `"${value}"` : value}`,
      ),
    ]),
  ),
  ...durations.flatMap((name) =>
    [-1, NaN, "5"].map((value): Case => [
      { ...good, [name]: value },
      range(
        `${name} must be >= 0, current value is ${typeof value === "string" ? `"${value}"` : value}`,
      ),
    ]),
  ),
  [{ ...timed, latenessMs: -1 }, range("latenessMs must be >= 0, current value is -1")],
  ...functions.map((name): Case => [
    { ...good, [name]: 5 },
    type(`${name} must be a function, current value is 5`),
  ]),
  ...Object.entries(words).map(([name, list]): Case => [
    { ...good, [name]: "sometimes" },
    type(`${name} must be ${list}, current value is "sometimes"`),
  ]),
  [{ ...good, message: 5 }, type("message must be a function, current value is 5")],
  [{ ...loop, session: "no" }, type('session must be a function, current value is "no"')],
  [
    { ...good, deadLetter: "keep" },
    type('deadLetter must be a function or "drop", current value is "keep"'),
  ],
  [
    { key: () => "a" },
    type("it needs a handler, either session (loop style) or message, and neither was given"),
  ],
  [
    { ...good, ...loop },
    type("it needs a handler, either session (loop style) or message, and both were given"),
  ],
  [{ ...good, latenessMs: 5 }, type("latenessMs needs time, which says what time a message is of")],
  [
    { ...loop, interrupts: () => false },
    type("interrupts is for message style; a loop receives the message itself"),
  ],
  [
    { ...good, duplicateStart: "replace" },
    type("duplicateStart needs starts, which says what a start message is"),
  ],
  [
    { ...good, ack: "session" },
    type('ack: "session" needs ends or a finite idleMs, or no delivery would ever be settled'),
  ],
  [
    { ...good, idleMS: 5 },
    type(
      "it has no option idleMS; the options are key, starts, ends, session, message, ended, stopped, state, output, time, latenessMs, idleMs, inboxSize, overflow, maxHeld, maxLive, evict, maxRunning, late, duplicateStart, interrupts, attempts, retryDelayMs, onExhausted, deadLetter, schema, graceMs, drainMs, ack, clock, store",
    ),
  ],
  [undefined, type("its options must be an object, given undefined")],
  [null, type("its options must be an object, given null")],
  ["text", type('its options must be an object, given "text"')],
  [
    { ...good, schema: {} },
    type("schema must be a Standard Schema, current value is [object Object]"),
  ],
  [
    { ...good, clock: {} },
    type("clock must have now and wakeAfter, current value is [object Object]"),
  ],
  [
    { ...good, store: {} },
    type("store must have load, save and delete, current value is [object Object]"),
  ],
];

test.for(cases.map(([options, error]) => ({ options, error, text: error.message.slice(22, 90) })))(
  "SessionRouter refuses its options: $text",
  ({ options, error }) => {
    expect(() => new SessionRouter(options as never)).toThrow(error);
    expect(() => new SessionRouter(options as never)).toThrow(error.constructor as typeof Error);
    if (typeof options === "object" && options !== null) {
      expect(() => defineSessions(options as never)).toThrow(error);
    }
  },
);

test("SessionRouter starts nothing when it is made", () => {
  const clock = new VirtualClock();
  const router = new SessionRouter({ ...good, clock, idleMs: 5 });
  expect(clock.waiting).toBe(0);
  expect(router.statistics()).toMatchObject({ state: "open", live: 0, started: 0 });
});

test("SessionRouter takes undefined for an option that was not given, and Infinity for no bound", () => {
  const given = Object.fromEntries(
    [
      ...positive,
      ...durations,
      ...functions,
      ...Object.keys(words),
      "deadLetter",
      "schema",
      "clock",
      "store",
    ]
      .filter((name) => name !== "key")
      .map((name) => [name, undefined]),
  );
  new SessionRouter({ ...given, ...good });
  new SessionRouter({
    ...good,
    ...Object.fromEntries([...positive, ...durations].map((name) => [name, Infinity])),
  });
  new SessionRouter({ ...good, idleMs: 0, graceMs: 0, drainMs: 0 });
});

test("SessionRouter does not write to the options that it was given, and does not look at them later", async () => {
  const clock = new VirtualClock();
  const options = Object.freeze({ ...good, clock, idleMs: 100 });
  const router = new SessionRouter(options);
  await router.send("x");
  await clock.advance(100);
  expect(router.statistics().ended.idle).toBe(1);
});

test("defineSessions gives the definition back, and refuses a parse that is none", () => {
  const definition = { ...good, parse: (line: string) => line };
  expect(defineSessions(definition)).toBe(definition);
  expect(() => defineSessions({ ...good, parse: "json" as never })).toThrow(
    new TypeError("Cannot define sessions: parse must be a function, current value is json"),
  );
});
