// What does a message cost? 1,000 live keys, 102 messages a session, interleaved
// over the keys; all whole sessions, so that starting and ending are paid for too.
import { row } from "./support/processes.ts";
import type { Plan, Promised, Question, Settings } from "./support/question.ts";
import { messagesPerSecond } from "./support/sessions.ts";

const contenders = [
  "bare",
  "hand-written",
  "heddle-message",
  "heddle-async",
  "heddle-loop",
  "effect",
  "rxjs",
  "p-queue",
  "asyncio",
  "go",
];

function plan({ quick }: Settings): Plan {
  return {
    blocks: 1,
    live: 1_000,
    perSession: 102,
    chunk: 10_000,
    warmMs: quick ? 100 : 800,
    measureMs: quick ? 100 : 800,
  };
}

function against(row: string, what: string, least: Readonly<Record<string, number>>): Promised[] {
  return Object.entries(least).map(([peer, atLeast]) => ({
    what: `${what} / ${peer}`,
    row,
    against: peer,
    atLeast,
  }));
}

export const question: Question = {
  name: "keyed",
  title: "1,000 live keys, 102 messages a session",
  unit: "messages/s",
  base: "hand-written",
  rows: contenders.map((contender) => row("keyed", contender, plan)),
  promises: [
    ...against("heddle-message", "message style, no promise", { bare: 0.6 }),
    ...against("heddle-async", "message style, async", { "hand-written": 1 }),
    ...against("heddle-loop", "loop style", { "hand-written": 0.9 }),
    ...against("heddle-loop", "loop style", { effect: 8, rxjs: 4, "p-queue": 4, asyncio: 12 }),
    ...against("heddle-async", "message style, async", {
      effect: 12,
      rxjs: 6,
      "p-queue": 6,
      asyncio: 20,
    }),
  ],
  inChild: messagesPerSecond,
};
