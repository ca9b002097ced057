// Whole sessions, over and over: the measuring of the questions `keyed` and `churn`.
import { performance } from "node:perf_hooks";
import type { Contender } from "./contender.ts";
import { feed, turn } from "./feed.ts";
import type { Plan } from "./question.ts";
import { totals, type Message } from "./work.ts";

/**
 * Whole sessions of `blocks` times `live` keys: the messages of one block's keys
 * are interleaved, and a block's sessions have ended before the next block begins.
 */
export function sessionMessages(blocks: number, live: number, perSession: number): Message[] {
  const messages: Message[] = [];
  for (let block = 0; block < blocks; block++) {
    const keys = Array.from({ length: live }, (_, n) => `session-${block * live + n}`);
    for (let n = 0; n < perSession; n++) {
      const kind = n === 0 ? "start" : n === perSession - 1 ? "end" : "msg";
      for (const key of keys) messages.push({ key, kind, n });
    }
  }
  return messages;
}

/** Messages per second, once warm. */
export async function messagesPerSecond(
  open: () => Contender | Promise<Contender>,
  plan: Plan,
): Promise<number> {
  const blocks = Number(plan["blocks"]);
  const live = Number(plan["live"]);
  const perSession = Number(plan["perSession"]);
  const chunk = Number(plan["chunk"]);
  const messages = sessionMessages(blocks, live, perSession);
  const contender = await open();

  await passes(contender, messages, chunk, Number(plan["warmMs"]));
  const { handled, ms } = await passes(contender, messages, chunk, Number(plan["measureMs"]));

  await turn();
  verify(perSession);
  await contender.check?.(totals);
  return (handled / ms) * 1_000;
}

async function passes(
  contender: Contender,
  messages: readonly Message[],
  chunk: number,
  atLeastMs: number,
): Promise<{ handled: number; ms: number }> {
  let handled = 0;
  let ms = 0;
  const start = performance.now();
  do {
    // A pass is whole sessions, all handled before the next one: no contender has
    // to keep a key's next session back until its last one is gone.
    await feed(contender, messages, chunk);
    handled += messages.length;
    ms = performance.now() - start;
  } while (ms < atLeastMs);
  return { handled, ms };
}

function verify(perSession: number): void {
  const { started, ended, handled, sum } = totals;
  const sumOfOne = (perSession * (perSession - 1)) / 2;
  if (started !== ended || handled !== ended * perSession || sum !== ended * sumOfOne) {
    throw new Error(`wrong counts: ${JSON.stringify(totals)}`);
  }
}
