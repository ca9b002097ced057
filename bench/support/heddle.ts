// What Heddle's contenders share: everything is switched on, as a program would
// have it. An idle time that is finite keeps the idle list at work; inboxes are
// bounded by their default.
import type { SessionRouter } from "heddle/session";
import type { Contender } from "./contender.ts";
import { newCounter, type Counter, type Message, type Totals } from "./work.ts";

export const everything = {
  key: (message: Message): string => message.key,
  starts: (message: Message): boolean => message.kind === "start",
  ends: (message: Message): boolean => message.kind === "end",
  state: (): Counter => newCounter(),
  idleMs: 30_000,
};

export function heddle(router: SessionRouter<Message, string, Counter>): Contender {
  return {
    push: (message) => router.trySend(message),
    async check(totals: Totals): Promise<void> {
      await router.join();
      const { handled, started, ended, live, deadLettered, leftovers } = router.statistics();
      const report = { handled, started, ended: ended.ended, live, deadLettered, leftovers };
      const right =
        handled === totals.handled &&
        started === totals.started &&
        ended.ended === totals.ended &&
        live === started - ended.ended &&
        deadLettered + leftovers === 0;
      if (!right) throw new Error(`Heddle's statistics are wrong: ${JSON.stringify(report)}`);
    },
  };
}
