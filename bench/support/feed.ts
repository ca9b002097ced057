// The feeding, the same for every contender: chunks of messages, and one turn of
// the event loop after each, so that consumers catch up as they would on a socket.
import { performance } from "node:perf_hooks";
import type { Contender } from "./contender.ts";
import { totals, type Message } from "./work.ts";

const stalledAfterMs = 20_000;

/** An array of messages, or something that makes them as they are sent. */
export interface Messages {
  readonly length: number;
  at(index: number): Message | undefined;
}

export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Pushes all of `messages`, then waits until every one of them is handled. */
export async function feed(contender: Contender, messages: Messages, chunk: number): Promise<void> {
  const expected = totals.handled + messages.length;
  let next = 0;
  let lastTry = performance.now();
  while (next < messages.length) {
    const before = next;
    next = pushChunk(contender, messages, next, Math.min(next + chunk, messages.length));
    if (next > before) lastTry = performance.now();
    else if (performance.now() - lastTry > stalledAfterMs)
      throw new Error("no message is accepted");
    await turn();
  }
  await handled(expected);
}

/** A function of its own, so that it is compiled without the async machinery around it. */
function pushChunk(contender: Contender, messages: Messages, from: number, to: number): number {
  for (let n = from; n < to; n++) {
    if (!contender.push(messages.at(n) as Message)) return n;
  }
  return to;
}

async function handled(expected: number): Promise<void> {
  let last = totals.handled;
  let since = performance.now();
  while (totals.handled < expected) {
    await turn();
    if (totals.handled !== last) {
      last = totals.handled;
      since = performance.now();
    } else if (performance.now() - since > stalledAfterMs) {
      throw new Error(`only ${last} of ${expected} messages were handled`);
    }
  }
}

/** Feeds `messages` again and again, for at least that time. */
export async function feedFor(
  atLeastMs: number,
  contender: Contender,
  messages: Messages,
  chunk: number,
): Promise<{ handled: number; ms: number }> {
  let handled = 0;
  let ms = 0;
  const start = performance.now();
  do {
    await feed(contender, messages, chunk);
    handled += messages.length;
    ms = performance.now() - start;
  } while (ms < atLeastMs);
  return { handled, ms };
}
