// Plain words about one key: what its session does, what it waits for, or how
// its last one ended.
import type { Key } from "../message/delivery.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { show } from "./errors.ts";
import type { EndReason } from "./options.ts";
import { errorText } from "./report.ts";
import { AGAIN, END_ASKED, LEAVING, OVERDUE, type LiveSession } from "./session.ts";

const remembered = 1_000;

interface EndedSession {
  key: Key;
  reason: EndReason;
  error: string;
  handled: number;
  startedAt: number;
  endedAt: number;
}

/** The last 1,000 sessions that ended; the records are used again, so that ending one costs no garbage. @internal */
export class EndedRing {
  readonly #ring: EndedSession[] = [];
  #next = 0;

  add(session: LiveSession, at: number): void {
    let record = this.#ring[this.#next];
    if (record === undefined) {
      record = { key: "", reason: "ended", error: "", handled: 0, startedAt: 0, endedAt: 0 };
      this.#ring[this.#next] = record;
    }
    record.key = session.key;
    record.reason = session.endReason ?? "ended";
    record.error = session.error === undefined ? "" : errorWithName(session.error);
    record.handled = session.handledCount;
    record.startedAt = session.startTime;
    record.endedAt = at;
    this.#next = (this.#next + 1) % remembered;
  }

  /** The youngest record of `key`. */
  find(key: Key): EndedSession | undefined {
    const { length } = this.#ring;
    for (let back = 1; back <= length; back++) {
      const record = this.#ring[(this.#next - back + remembered * 2) % remembered];
      if (record !== undefined && record.key === key) return record;
    }
    return undefined;
  }
}

/** @internal */
export function why(d: Dispatcher, key: Key): string {
  const session = d.sessions.get(key);
  const last = d.ended.find(key);
  const before = last === undefined ? "" : endedText(d, last);
  if (session === undefined) {
    return last === undefined
      ? `Key ${show(key)} has no session, and none of the last 1,000 that ended was its.`
      : before;
  }
  const lines = [liveText(d, session), queueText(d, session), boundsText(d), before];
  return lines.filter((line) => line !== "").join("\n");
}

function endedText(d: Dispatcher, last: EndedSession): string {
  const ago = seconds(d.time() - last.endedAt);
  const error = last.error === "" ? "" : ` with ${last.error}`;
  return `The last session of key ${show(last.key)} ended as ${last.reason}${error} ${ago} ago, after ${count(last.handled, "message")} in ${seconds(last.endedAt - last.startedAt)}.`;
}

function liveText(d: Dispatcher, session: LiveSession): string {
  const name = `The session of key ${show(session.key)}`;
  const task = session.handler === undefined ? "" : ` ${session.handler.toString()}`;
  switch (session.status) {
    case "waiting":
      return `Key ${show(session.key)} waits for a place: ${d.live} sessions are alive, and maxLive is ${d.settings.maxLive}.`;
    case "opening":
      return `${name} is being opened: its state is not there yet.`;
    case "quiet":
      return `${name} is quiet: it has nothing to do and waits for its next message.${idleText(d, session)}`;
    case "ready":
      return d.running >= d.settings.maxRunning
        ? `${name} waits for its turn: ${d.running} handlers run, and maxRunning is ${d.settings.maxRunning}.`
        : `${name} has its turn next.`;
    case "busy": {
      const asked = session.has(END_ASKED) ? " It ends after this message." : "";
      const leaving = session.has(LEAVING)
        ? " Its partition is handed over after this message."
        : "";
      const hand =
        session.inHand === undefined
          ? ""
          : ` handling message ${session.handledCount + 1}, try ${session.inHand.tries}`;
      return `${name} is busy${hand}:${task === "" ? " its handler runs." : task}${asked}${leaving}`;
    }
    case "retrying":
      return `${name} waits before it tries a message again: ${failureText(session)}`;
    case "parked":
      return `${name} is parked, until resume(${show(session.key)}): ${failureText(session)}`;
    default:
      return session.has(OVERDUE)
        ? `${name} ends as ${session.endReason ?? ""}, but its handler ignores its cancellation:${task}`
        : `${name} ends as ${session.endReason ?? ""}:${task === "" ? " it tidies up." : task}`;
  }
}

function failureText(session: LiveSession): string {
  const failure = session.inHand?.extra?.history?.at(-1);
  if (failure === undefined || !session.has(AGAIN)) return "its handler failed.";
  return `try ${failure.attempt} failed with ${errorWithName(failure.error)}`;
}

function idleText(d: Dispatcher, session: LiveSession): string {
  if (session.idleSlot === undefined || session.ownIdleMs === Infinity) return "";
  const left = session.quietAt + session.ownIdleMs - d.time();
  return ` It ends as idle in ${seconds(Math.max(0, left))}.`;
}

function queueText(d: Dispatcher, session: LiveSession): string {
  if (session.length === 0) return "";
  const oldest = session.head === undefined ? 0 : d.time() - session.head.at;
  return `${count(session.length, "message")} ${session.length === 1 ? "waits" : "wait"} in its line, the oldest for ${seconds(Math.max(0, oldest))}.`;
}

function boundsText(d: Dispatcher): string {
  const { held } = d.ledger;
  if (held < d.settings.maxHeld) return "";
  const [most] = heaviest(d, 1);
  const who = most === undefined ? "" : `; key ${show(most.key)} holds most, ${most.messages}`;
  return `The router is full: it holds ${held} messages, and maxHeld is ${d.settings.maxHeld}${who}.`;
}

/** The keys that hold most messages. @internal */
export function heaviest(d: Dispatcher, most: number): { key: Key; messages: number }[] {
  const found: { key: Key; messages: number }[] = [];
  for (const session of d.sessions.values()) {
    const messages = session.length + (session.inHand === undefined ? 0 : 1);
    if (messages === 0) continue;
    if (found.length === most && messages <= (found.at(-1)?.messages ?? 0)) continue;
    found.push({ key: session.key, messages });
    found.sort((one, other) => other.messages - one.messages);
    if (found.length > most) found.pop();
  }
  return found;
}

function errorWithName(error: unknown): string {
  const text = errorText(error);
  try {
    return error instanceof Error ? `${error.name}: ${text}` : text;
  } catch {
    return text;
  }
}

function seconds(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
