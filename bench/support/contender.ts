import type { Message, Totals } from "./work.ts";

/** One way of giving every key its own handler, made by `bench/contenders/NAME.ts`. */
export interface Contender {
  /** Never waits; false: not accepted, to be offered again after a turn of the event loop */
  push(message: Message): boolean;
  /** Looks for whatever is left once all is handled, and throws when there is something */
  check?(totals: Totals): Promise<void>;
}

export interface ContenderModule {
  readonly open: () => Contender | Promise<Contender>;
}
