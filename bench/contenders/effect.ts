// Effect 4: a Queue and a fiber for each key, the fibers in a FiberMap. It is fed
// with `offerUnsafe` from outside any fiber, the cheapest way in that Effect has.
import { Effect, FiberMap, Queue, Scope } from "effect";
import type { Contender } from "../support/contender.ts";
import { newCounter, work, type Message } from "../support/work.ts";

const session = (queue: Queue.Queue<Message>): Effect.Effect<void> =>
  Effect.gen(function* () {
    const counter = newCounter();
    for (;;) {
      const message = yield* Queue.take(queue);
      work(counter, message);
      if (message.kind === "end") return;
    }
  });

export async function open(): Promise<Contender> {
  const scope = Scope.makeUnsafe();
  const run = await Effect.runPromise(
    FiberMap.makeRuntime<never, string, never, void>().pipe(Scope.provide(scope)),
  );
  const queues = new Map<string, Queue.Queue<Message>>();
  return {
    push(message: Message): boolean {
      let queue = queues.get(message.key);
      if (queue === undefined) {
        queue = Effect.runSync(Queue.unbounded<Message>());
        queues.set(message.key, queue);
        run(message.key, session(queue));
      }
      Queue.offerUnsafe(queue, message);
      if (message.kind === "end") queues.delete(message.key);
      return true;
    },
  };
}
