// The work that every contender does with every message: as little as can still
// be checked. A handler that did more would hide what the routers cost.

export interface Message {
  readonly key: string;
  readonly kind: "start" | "msg" | "end";
  readonly n: number;
}

/** What each session keeps: the contender makes one a session. */
export class Counter {
  handled = 0;
  sum = 0;
}

let shared: Counter | undefined;

/** A session's counter; one for all where the question is what a session itself costs. */
export function newCounter(): Counter {
  return shared ?? new Counter();
}

export function shareCounter(): void {
  shared = new Counter();
}

export interface Totals {
  started: number;
  ended: number;
  handled: number;
  sum: number;
}

/** What this process has handled so far; compared with what it was fed. */
export const totals: Totals = { started: 0, ended: 0, handled: 0, sum: 0 };

/** The handler of every contender. */
export function work(counter: Counter, message: Message): void {
  counter.handled++;
  counter.sum += message.n;
  totals.handled++;
  if (message.kind === "start") totals.started++;
  else if (message.kind === "end") {
    totals.ended++;
    totals.sum += counter.sum;
  }
}
