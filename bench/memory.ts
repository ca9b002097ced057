// What does an idle session cost? Bytes of heap for each of 300,000 that have
// handled their first message and wait; 40 of them are the counter that this
// bench's handler keeps, the same in every row.
import process from "node:process";
import { feed, turn } from "./support/feed.ts";
import { row } from "./support/processes.ts";
import type { Contender } from "./support/contender.ts";
import type { Plan, Question, Settings } from "./support/question.ts";
import { sessionMessages } from "./support/sessions.ts";
import { shareCounter, totals, type Message } from "./support/work.ts";

const contenders = [
  "hand-written",
  "heddle-message",
  "heddle-async",
  "heddle-loop",
  "effect",
  "rxjs",
  "p-queue",
  "asyncio",
];

function plan({ quick }: Settings): Plan {
  return { sessions: quick ? 20_000 : 300_000, chunk: 10_000 };
}

/** Garbage is collected until the heap shrinks no more: a weak reference holds on until the turn ends. */
async function heapUsed(): Promise<number> {
  if (globalThis.gc === undefined) throw new Error("needs --expose-gc");
  let least = Infinity;
  for (let n = 0; n < 4; n++) {
    await turn();
    globalThis.gc();
    least = Math.min(least, process.memoryUsage().heapUsed);
  }
  return least;
}

async function bytesPerSession(
  open: () => Contender | Promise<Contender>,
  { sessions, chunk }: Plan,
): Promise<number> {
  const count = Number(sessions);
  // Keys and messages are made, and the code is compiled, before the baseline.
  const messages: Message[] = Array.from({ length: count }, (_, n) => ({
    key: `idle-${n}`,
    kind: "start",
    n,
  }));
  // The handler's own state is not what a session costs.
  shareCounter();
  const contender = await open();
  await feed(contender, sessionMessages(3, 1_000, 4), Number(chunk));

  const before = await heapUsed();
  await feed(contender, messages, Number(chunk));
  const after = await heapUsed();

  if (totals.started - totals.ended !== count)
    throw new Error(`wrong counts: ${JSON.stringify(totals)}`);
  await contender.check?.(totals);
  // Used once more, so that nothing above may be collected while it is measured.
  if (!contender.push(messages[0] as Message)) throw new Error("an idle session takes no message");
  return (after - before) / count;
}

export const question: Question = {
  name: "memory",
  title: "heap per idle session, 300,000 of them",
  unit: "bytes",
  base: "hand-written",
  rows: contenders.map((contender) =>
    row("memory", contender, plan, { flags: ["--expose-gc", "--max-old-space-size=4096"] }),
  ),
  promises: [
    { what: "loop style, bytes", row: "heddle-loop", atMost: 1_200 },
    { what: "message style, no promise, bytes", row: "heddle-message", atMost: 450 },
    { what: "message style, async, bytes", row: "heddle-async", atMost: 600 },
  ],
  inChild: bytesPerSession,
};
