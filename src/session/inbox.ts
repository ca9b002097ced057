// The mailbox of one key. Order within a key is kept here and nowhere else.
//
// One list holds everything that waits for the key: what is in the inbox, and
// behind it what found no room. A put that finds the inbox full stands in line
// WITH its message, and taking one moves the first behind the border into the
// place just emptied. Waking the sender and letting it try again would be
// shorter, and wrong: between the wake and the try a newcomer finds the place
// empty and goes in first.
import type { Delivery, FailedAttempt } from "../message/delivery.ts";
import type { Wait } from "../task/wait.ts";
import type { Feed } from "./consume.ts";

/** The session ends with this message. @internal */
export const ENDS = 1;
/** A start message, as `starts` said. @internal */
export const STARTS = 2;
/** It may start a session. @internal */
export const MAY_START = 4;
/** Behind the watermark: it may only join a live session. @internal */
export const BEHIND = 8;
/** No message: the place in the line where event time says that the session is idle. @internal */
export const IDLE_MARK = 16;
/** No message: the place in the line where the source ended. @internal */
export const SOURCE_END_MARK = 32;
export const MARK: number = IDLE_MARK | SOURCE_END_MARK;
/** It has a place in the inbox. @internal */
export const INSIDE = 64;
/** A later message interrupts the call that handles it. @internal */
export const INTERRUPTED = 128;
/** It counts against maxHeld. @internal */
export const HELD = 256;

/** It stands in the line without having been accepted: its sender waits for room. @internal */
export const UNADMITTED = 512;
/** The session may not simply take it: a mark, a possible duplicate, or not accepted yet. @internal */
export const SPECIAL: number = MARK | STARTS | UNADMITTED;
// The count of tries stands above the flags.
const TRIES = 16;
/** Added to the flags for each try. @internal */
export const ONE_TRY: number = 1 << TRIES;

/** What only some messages have. @internal */
export interface Extra {
  /** The source that it came from, until it is settled */
  feed: Feed | undefined;
  delivery: Delivery | undefined;
  /** Resolved with the handler's value: `call` waits for it */
  ticket: Wait<unknown> | undefined;
  /** The send that waits for room; not accepted as long as there is one */
  sender: Wait<void> | undefined;
  history: FailedAttempt[] | undefined;
}

/** A message on its way. Made for every message, so it is small. @internal */
export class Envelope {
  readonly message: unknown;
  flags: number;
  /** When it was accepted, in whole milliseconds since the router was made */
  at: number;
  next: Envelope | undefined = undefined;
  extra: Extra | undefined = undefined;

  constructor(message: unknown, flags: number, at: number) {
    this.message = message;
    this.flags = flags;
    this.at = at;
  }

  get feed(): Feed | undefined {
    return this.extra?.feed;
  }

  get delivery(): Delivery | undefined {
    return this.extra?.delivery;
  }

  /** The partition that it came from. */
  get partition(): string {
    return this.extra?.delivery?.partition ?? "";
  }

  /** How often a handler was given it. */
  get tries(): number {
    return this.flags >>> TRIES;
  }

  set tries(tries: number) {
    this.flags = (this.flags & (ONE_TRY - 1)) | (Math.min(tries, 0x7fff) << TRIES);
  }

  /** It came from a source. */
  from(feed: Feed, delivery: Delivery): void {
    const extra = this.needExtra();
    extra.feed = feed;
    extra.delivery = delivery;
  }

  needExtra(): Extra {
    return (this.extra ??= {
      feed: undefined,
      delivery: undefined,
      ticket: undefined,
      sender: undefined,
      history: undefined,
    });
  }
}

/** @internal */
export class Inbox {
  head: Envelope | undefined = undefined;
  tail: Envelope | undefined = undefined;
  /** The first that has no place inside */
  border: Envelope | undefined = undefined;
  /** Everything in the line but marks */
  length = 0;

  /** Puts a message last that has a place inside. */
  append(envelope: Envelope): void {
    if (this.tail === undefined) this.head = envelope;
    else this.tail.next = envelope;
    this.tail = envelope;
    this.length++;
  }

  /** Puts it last; `inside` says whether it has a place in the inbox. */
  push(envelope: Envelope, inside: boolean): void {
    if (this.tail === undefined) this.head = envelope;
    else this.tail.next = envelope;
    this.tail = envelope;
    if ((envelope.flags & MARK) === 0) this.length++;
    if (inside) envelope.flags |= INSIDE;
    else this.border ??= envelope;
  }

  /** Takes the first, a message with nothing behind the border. */
  dropHead(head: Envelope): void {
    const next = head.next;
    this.head = next;
    if (next === undefined) this.tail = undefined;
    this.length--;
  }

  /** Takes the first. */
  shift(): Envelope | undefined {
    const envelope = this.head;
    if (envelope === undefined) return undefined;
    this.head = envelope.next;
    if (this.head === undefined) this.tail = undefined;
    envelope.next = undefined;
    if (this.border === envelope) this.border = this.head;
    if ((envelope.flags & MARK) === 0) this.length--;
    return envelope;
  }

  /** Puts one back before all others; it takes no place, and so gives none when it is taken. */
  putBack(envelope: Envelope): void {
    envelope.flags &= ~INSIDE;
    envelope.next = this.head;
    this.head = envelope;
    this.tail ??= envelope;
    if ((envelope.flags & MARK) === 0) this.length++;
  }

  /** Takes one out of the middle. */
  remove(envelope: Envelope): boolean {
    if (this.head === envelope) return this.shift() !== undefined;
    let before = this.head;
    while (before !== undefined && before.next !== envelope) before = before.next;
    if (before === undefined) return false;
    before.next = envelope.next;
    if (this.tail === envelope) this.tail = before;
    if (this.border === envelope) this.border = envelope.next;
    envelope.next = undefined;
    if ((envelope.flags & MARK) === 0) this.length--;
    return true;
  }

  /** Hands the whole line to another inbox, which is empty. */
  moveTo(other: Inbox): void {
    other.head = this.head;
    other.tail = this.tail;
    other.border = this.border;
    other.length = this.length;
    this.head = this.tail = this.border = undefined;
    this.length = 0;
  }

  *[Symbol.iterator](): Generator<Envelope> {
    for (let at = this.head; at !== undefined; at = at.next) yield at;
  }
}
