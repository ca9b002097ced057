// RxJS: groupBy, and concatMap within the group, which is what keeps a key's order
// when handlers are async. `duration` ends the group with its end message.
import { Subject, concatMap, filter, groupBy, mergeMap } from "rxjs";
import type { Contender } from "../support/contender.ts";
import { newCounter, work, type Message } from "../support/work.ts";

export function open(): Contender {
  const messages = new Subject<Message>();
  messages
    .pipe(
      groupBy((message) => message.key, {
        duration: (group) => group.pipe(filter((message) => message.kind === "end")),
      }),
      mergeMap((group) => {
        const counter = newCounter();
        return group.pipe(concatMap(async (message) => work(counter, message)));
      }),
    )
    .subscribe();
  return {
    push(message: Message): boolean {
      messages.next(message);
      return true;
    },
  };
}
