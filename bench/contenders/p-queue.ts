// A p-queue of concurrency 1 for each key, thrown away at the key's end.
import PQueue from "p-queue";
import type { Contender } from "../support/contender.ts";
import { newCounter, work, type Counter, type Message } from "../support/work.ts";

export function open(): Contender {
  const sessions = new Map<string, { queue: PQueue; counter: Counter }>();
  return {
    push(message: Message): boolean {
      let session = sessions.get(message.key);
      if (session === undefined) {
        session = { queue: new PQueue({ concurrency: 1 }), counter: newCounter() };
        sessions.set(message.key, session);
      }
      const { counter } = session;
      void session.queue.add(async () => work(counter, message));
      if (message.kind === "end") sessions.delete(message.key);
      return true;
    },
  };
}
