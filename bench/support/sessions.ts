// Whole sessions, over and over: the measuring of the questions `keyed` and `churn`.
import type { Contender } from "./contender.ts";
import { feedFor, turn, type Messages } from "./feed.ts";
import type { Plan } from "./question.ts";
import { totals, type Message } from "./work.ts";

/**
 * Whole sessions of `blocks` times `live` keys: the messages of one block's keys
 * are interleaved, and a block's sessions have ended before the next block begins.
 *
 * Each message is made when it is sent, a new object with a key string of its
 * own, as a parser gives them: a lookup then has to hash and compare text, and
 * what a contender keeps of a message is kept of a new one.
 */
export function sessionMessages(blocks: number, live: number, perSession: number): Messages {
  const perBlock = live * perSession;
  return {
    length: blocks * perBlock,
    at(index: number): Message {
      const block = Math.floor(index / perBlock);
      const inBlock = index - block * perBlock;
      const n = Math.floor(inBlock / live);
      const k = inBlock - n * live;
      const kind = n === 0 ? "start" : n === perSession - 1 ? "end" : "msg";
      return { key: `session-${block * live + k}`, kind, n };
    },
  };
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

  // Each time through is whole sessions, all handled before the next: no contender
  // has to keep a key's next session back until its last one is gone.
  await feedFor(Number(plan["warmMs"]), contender, messages, chunk);
  const { handled, ms } = await feedFor(Number(plan["measureMs"]), contender, messages, chunk);

  await turn();
  verify(perSession);
  await contender.check?.(totals);
  return (handled / ms) * 1_000;
}

function verify(perSession: number): void {
  const { started, ended, handled, sum } = totals;
  const sumOfOne = (perSession * (perSession - 1)) / 2;
  if (started !== ended || handled !== ended * perSession || sum !== ended * sumOfOne) {
    throw new Error(`wrong counts: ${JSON.stringify(totals)}`);
  }
}
