// The router's options, filled in and checked in one place.
import { currentClock } from "../task/scope.ts";
import type { Clock } from "../task/clock.ts";
import type { DeadLetter, Key } from "../message/delivery.ts";
import type { StateStore } from "../message/source.ts";
import type { StandardSchemaV1 } from "./standard-schema.ts";
import type { EndReason, Session, SessionRouterOptions } from "./options.ts";

/** What every part of a router reads. @internal */
export interface Settings {
  readonly style: "loop" | "message";
  readonly handlerName: string;
  readonly key: ((message: unknown) => Key) | undefined;
  readonly starts: ((message: unknown) => boolean) | undefined;
  readonly ends: ((message: unknown) => boolean) | undefined;
  readonly session: (session: Session) => unknown;
  readonly message: (message: unknown, session: Session) => unknown;
  readonly ended: ((session: Session, reason: EndReason) => unknown) | undefined;
  readonly stopped: ((session: Session, reason: EndReason) => unknown) | undefined;
  readonly state: ((key: Key, saved: unknown) => unknown) | undefined;
  readonly output: ((value: unknown, session: Session) => unknown) | undefined;
  readonly time: ((message: unknown) => number) | undefined;
  readonly latenessMs: number;
  readonly idleMs: number;
  readonly inboxSize: number;
  readonly overflow: "wait" | "reject" | "dropOldest" | "dropNewest";
  readonly maxHeld: number;
  readonly maxLive: number;
  readonly evict: "idlest" | undefined;
  readonly maxRunning: number;
  readonly late: "deadLetter" | "drop";
  readonly duplicateStart: "deliver" | "replace" | "deadLetter";
  readonly interrupts: ((message: unknown, session: Session) => boolean) | undefined;
  readonly attempts: number;
  readonly retryDelayMs: (attempt: number, error: unknown, message: unknown) => number | undefined;
  readonly onExhausted: "deadLetter" | "park" | "end";
  readonly deadLetter: ((letter: DeadLetter) => unknown) | "drop" | undefined;
  readonly schema: StandardSchemaV1 | undefined;
  readonly graceMs: number;
  readonly drainMs: number;
  readonly ack: "message" | "session";
  readonly clock: Clock;
  readonly store: StateStore | undefined;
}

const known = new Set(
  `key starts ends session message ended stopped state output time latenessMs idleMs inboxSize
  overflow maxHeld maxLive evict maxRunning late duplicateStart interrupts attempts retryDelayMs
  onExhausted deadLetter schema graceMs drainMs ack clock store`.split(/\s+/),
);

function cannot(text: string): string {
  return `Cannot make a router: ${text}`;
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** @internal */
export function routerSettings<M, K extends Key, S, R>(
  options: SessionRouterOptions<M, K, S, R>,
): Settings {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(cannot(`its options must be an object, given ${show(options)}`));
  }
  const given = options as unknown as Record<string, unknown>;
  checkNames(given);
  const style = styleOf(given);
  const loop = style === "loop";
  const settings = {
    key: undefined,
    starts: undefined,
    ends: undefined,
    ended: undefined,
    stopped: undefined,
    state: undefined,
    output: undefined,
    time: undefined,
    latenessMs: 0,
    idleMs: Infinity,
    inboxSize: 64,
    overflow: "wait",
    maxHeld: 65_536,
    maxLive: Infinity,
    evict: undefined,
    maxRunning: Infinity,
    late: "deadLetter",
    duplicateStart: "deliver",
    interrupts: undefined,
    attempts: loop ? 1 : 5,
    retryDelayMs: defaultRetryDelayMs,
    onExhausted: loop ? "end" : "deadLetter",
    deadLetter: undefined,
    schema: undefined,
    graceMs: 5_000,
    drainMs: 10_000,
    ack: "message",
    store: undefined,
    ...withoutUndefined(given),
    clock: (given["clock"] as Clock | undefined) ?? currentClock(),
    style,
    handlerName: ((given["session"] ?? given["message"]) as { name: string }).name,
  } as unknown as Settings;
  check(settings);
  return settings;
}

function withoutUndefined(given: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function checkNames(given: Record<string, unknown>): void {
  for (const name of Object.keys(given)) {
    if (!known.has(name)) {
      throw new TypeError(
        cannot(`it has no option ${name}; the options are ${[...known].join(", ")}`),
      );
    }
  }
}

function styleOf(given: Record<string, unknown>): "loop" | "message" {
  const { session, message } = given;
  if ((session === undefined) === (message === undefined)) {
    const which = session === undefined ? "neither was given" : "both were given";
    throw new TypeError(
      cannot(`it needs a handler, either session (loop style) or message, and ${which}`),
    );
  }
  return session === undefined ? "message" : "loop";
}

function check(settings: Settings): void {
  const values = settings as unknown as Record<string, unknown>;
  for (const name of functions) {
    if (values[name] !== undefined && typeof values[name] !== "function") {
      throw new TypeError(
        cannot(`${name} must be a function, current value is ${show(values[name])}`),
      );
    }
  }
  for (const [name, least] of counts) {
    const value = values[name] as number;
    if (!(value === Infinity || Number.isInteger(value)) || value < least) {
      throw new RangeError(
        cannot(`${name} must be a whole number >= ${least}, current value is ${show(value)}`),
      );
    }
  }
  for (const name of durations) {
    const value = values[name];
    if (typeof value !== "number" || !(value >= 0)) {
      throw new RangeError(cannot(`${name} must be >= 0, current value is ${show(value)}`));
    }
  }
  for (const [name, choices] of Object.entries(words)) {
    if (!choices.includes(values[name] as string | undefined)) {
      const list = choices.filter((word) => word !== undefined).map(show);
      throw new TypeError(
        cannot(`${name} must be ${list.join(" or ")}, current value is ${show(values[name])}`),
      );
    }
  }
  if (
    settings.deadLetter !== undefined &&
    typeof settings.deadLetter !== "function" &&
    settings.deadLetter !== "drop"
  ) {
    throw new TypeError(
      cannot(
        `deadLetter must be a function or "drop", current value is ${show(settings.deadLetter)}`,
      ),
    );
  }
  const { schema } = settings;
  if (schema !== undefined && typeof schema?.["~standard"]?.validate !== "function") {
    throw new TypeError(
      cannot(`schema must be a Standard Schema, current value is ${show(schema)}`),
    );
  }
  checkMethods(values, "clock", ["now", "wakeAfter"]);
  checkMethods(values, "store", ["load", "save", "delete"]);
  checkTogether(settings);
}

function checkMethods(
  values: Record<string, unknown>,
  name: string,
  methods: readonly string[],
): void {
  const value = values[name];
  if (value === undefined) return;
  const given = value as Record<string, unknown> | null;
  if (methods.every((method) => typeof given?.[method] === "function")) return;
  const list = `${methods.slice(0, -1).join(", ")} and ${methods.at(-1)}`;
  throw new TypeError(cannot(`${name} must have ${list}, current value is ${show(value)}`));
}

const functions = `key starts ends session message ended stopped state output time interrupts
  retryDelayMs`.split(/\s+/);
const counts: readonly (readonly [string, number])[] = [
  ["inboxSize", 1],
  ["maxHeld", 1],
  ["maxLive", 1],
  ["maxRunning", 1],
  ["attempts", 1],
];
const durations = ["latenessMs", "idleMs", "graceMs", "drainMs"];
const words: Record<string, readonly (string | undefined)[]> = {
  overflow: ["wait", "reject", "dropOldest", "dropNewest"],
  evict: ["idlest", undefined],
  late: ["deadLetter", "drop"],
  duplicateStart: ["deliver", "replace", "deadLetter"],
  onExhausted: ["deadLetter", "park", "end"],
  ack: ["message", "session"],
};

function checkTogether(settings: Settings): void {
  if (settings.latenessMs > 0 && settings.time === undefined) {
    throw new TypeError(cannot("latenessMs needs time, which says what time a message is of"));
  }
  if (settings.interrupts !== undefined && settings.style === "loop") {
    throw new TypeError(
      cannot("interrupts is for message style; a loop receives the message itself"),
    );
  }
  if (settings.duplicateStart !== "deliver" && settings.starts === undefined) {
    throw new TypeError(cannot("duplicateStart needs starts, which says what a start message is"));
  }
  if (settings.ack === "session" && settings.ends === undefined && settings.idleMs === Infinity) {
    throw new TypeError(
      cannot('ack: "session" needs ends or a finite idleMs, or no delivery would ever be settled'),
    );
  }
}

// "Full jitter" around a doubling pause: half of it fixed, half of it random,
// so that keys which failed together do not come back together (Brooker,
// "Exponential Backoff And Jitter", 2015).
function defaultRetryDelayMs(attempt: number): number {
  const pause = Math.min(30_000, 100 * 2 ** (attempt - 1));
  return pause / 2 + (Math.random() * pause) / 2;
}
