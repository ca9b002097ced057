// Those who wait for one thing, in the order in which they came. Fairness is
// kept here and nowhere else.
//
// Whoever gives something back (a place, an item, a lock) takes the first wait
// off the line and serves it in the same step. Waking it and letting it try
// again would be shorter, and wrong: between the wake and the try a newcomer
// finds the thing free and goes first, and a waiter that is cancelled between
// the two has to remember to wake the next.
//
// The links are in the waits themselves (`ahead`, `behind`), so that a wait
// which is cancelled leaves from the middle without a search.
import type { Wait } from "../task/wait.ts";

/** @internal */
export class WaitLine {
  /** How many stand in it */
  length = 0;
  #first: Wait<never> | undefined = undefined;
  #last: Wait<never> | undefined = undefined;

  /** The one to be served next. */
  get first(): Wait<never> | undefined {
    return this.#first;
  }

  /** Puts `wait` at the end. */
  push<T>(wait: Wait<T>): void {
    const added = wait as unknown as Wait<never>;
    added.ahead = this.#last;
    if (this.#last === undefined) this.#first = added;
    else this.#last.behind = added;
    this.#last = added;
    this.length++;
  }

  /** Takes the first one off; the caller serves it at once. */
  shift<T>(): Wait<T> | undefined {
    const first = this.#first;
    if (first !== undefined) this.remove(first);
    return first as unknown as Wait<T> | undefined;
  }

  /** Takes `wait`, which stands in this line, off it. */
  remove(wait: Wait<never>): void {
    if (wait.ahead === undefined) this.#first = wait.behind;
    else wait.ahead.behind = wait.behind;
    if (wait.behind === undefined) this.#last = wait.ahead;
    else wait.behind.ahead = wait.ahead;
    wait.ahead = wait.behind = undefined;
    this.length--;
  }
}
