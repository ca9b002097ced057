// Bare dispatch: no queue, no task, no order to keep. The floor for everything else.
import type { Contender } from "../support/contender.ts";
import { newCounter, work, type Counter, type Message } from "../support/work.ts";

export function open(): Contender {
  const sessions = new Map<string, Counter>();
  return {
    push(message: Message): boolean {
      let session = sessions.get(message.key);
      if (session === undefined) {
        session = newCounter();
        sessions.set(message.key, session);
      }
      work(session, message);
      if (message.kind === "end") sessions.delete(message.key);
      return true;
    },
  };
}
