// Sessions that have something to do and wait for their turn, first come first
// served: a ring, because an array's shift is a copy.
import type { LiveSession } from "./session.ts";

/** @internal */
export class ReadyLine {
  #ring: (LiveSession | undefined)[] = Array.from({ length: 256 });
  #first = 0;
  length = 0;

  push(session: LiveSession): void {
    if (this.length === this.#ring.length) this.#grow();
    this.#ring[(this.#first + this.length) & (this.#ring.length - 1)] = session;
    this.length++;
  }

  shift(): LiveSession | undefined {
    if (this.length === 0) return undefined;
    const session = this.#ring[this.#first];
    this.#ring[this.#first] = undefined;
    this.#first = (this.#first + 1) & (this.#ring.length - 1);
    this.length--;
    return session;
  }

  #grow(): void {
    const { length } = this.#ring;
    const ring: (LiveSession | undefined)[] = Array.from({ length: length * 2 });
    for (let at = 0; at < length; at++) ring[at] = this.#ring[(this.#first + at) & (length - 1)];
    this.#ring = ring;
    this.#first = 0;
  }
}
