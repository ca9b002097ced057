// What a competent person writes without a library: a queue and an async loop
// for each key. It has no bound, no idle time, no cancellation and no retry.
import type { Contender } from "../support/contender.ts";
import { newCounter, work, type Message } from "../support/work.ts";

class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;
  #wake: ((item: T) => void) | undefined;

  put(item: T): void {
    const wake = this.#wake;
    if (wake === undefined) {
      this.#items.push(item);
      return;
    }
    this.#wake = undefined;
    wake(item);
  }

  get(): Promise<T> | T {
    if (this.#head === this.#items.length) {
      return new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
    const item = this.#items[this.#head] as T;
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    }
    return item;
  }
}

async function loop(queue: Fifo<Message>): Promise<void> {
  const counter = newCounter();
  for (;;) {
    const message = await queue.get();
    work(counter, message);
    if (message.kind === "end") return;
  }
}

export function open(): Contender {
  const queues = new Map<string, Fifo<Message>>();
  return {
    push(message: Message): boolean {
      let queue = queues.get(message.key);
      if (queue === undefined) {
        queue = new Fifo();
        queues.set(message.key, queue);
        void loop(queue);
      }
      queue.put(message);
      if (message.kind === "end") queues.delete(message.key);
      return true;
    },
  };
}
