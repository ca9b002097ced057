// What does a session cost? A start and an end message only; 1,000 alive at a
// time, 50,000 different keys.
import { row } from "./support/processes.ts";
import type { Plan, Question, Settings } from "./support/question.ts";
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
    blocks: 50,
    live: 1_000,
    perSession: 2,
    chunk: 10_000,
    warmMs: quick ? 100 : 800,
    measureMs: quick ? 100 : 800,
  };
}

export const question: Question = {
  name: "churn",
  title: "churn: sessions of a start and an end message",
  unit: "sessions/s",
  base: "hand-written",
  rows: contenders.map((contender) => row("churn", contender, plan)),
  promises: ["heddle-message", "heddle-async", "heddle-loop"].map((style) => ({
    what: `${style} / hand-written`,
    row: style,
    against: "hand-written",
    atLeast: 0.6,
  })),
  inChild: async (open, plan) => (await messagesPerSecond(open, plan)) / Number(plan["perSession"]),
};
