// Event time. Each message is held until the watermark of its partition has
// reached it, and goes on in order of time, so that what the sessions see is
// the sorted input, however slow or fast the handlers are.
//
// Everything here is decided from the messages alone, before any handler is
// asked. Where the gap between two messages of a key is `idleMs` or more, a
// mark is put into the key's line, and the session ends when it comes to it.
import type { Key } from "../message/delivery.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Feed } from "./consume.ts";
import { BEHIND, ENDS, type Envelope, IDLE_MARK, MAY_START, SOURCE_END_MARK } from "./inbox.ts";

interface Timed {
  readonly key: Key;
  readonly envelope: Envelope;
  readonly time: number;
  /** The order of arrival, among equals of time */
  readonly number: number;
}

/** What event time knows of a key's session: from when to when it has messages. */
interface Span {
  first: number;
  last: number;
}

interface PartitionTime {
  readonly feed: Feed | undefined;
  greatest: number;
  watermark: number;
  readonly heap: TimeHeap;
  /** In order of last message, because a change moves a key to the end */
  readonly spans: Map<Key, Span>;
}

/** @internal */
export class EventTime {
  readonly #d: Dispatcher;
  readonly #partitions = new Map<string, PartitionTime>();
  #number = 0;
  /** The router drains: what still comes, from a sender that waited, is not held */
  #over = false;
  /** Messages held until the watermark reaches them */
  held = 0;
  /** A session has set an idle time of its own */
  uneven = false;

  constructor(d: Dispatcher) {
    this.#d = d;
  }

  /** Takes a message in; what the watermark has reached by it goes on. */
  hold(key: Key, envelope: Envelope, partition: string, time: number): void {
    this.#d.ledger.accept(envelope);
    const here = this.#partition(partition, envelope.feed);
    if (time < here.watermark) {
      this.#behind(here, key, envelope, time);
      return;
    }
    here.heap.push({ key, envelope, time, number: this.#number++ });
    this.held++;
    if (this.#over) this.#flush(here);
    else if (time > here.greatest) {
      here.greatest = time;
      this.#advance(here, time - this.#d.settings.latenessMs);
    } else if (time === here.watermark) this.#advance(here, time);
  }

  /**
   * Nothing more comes from a source: what is held goes on, in order. Where it
   * has ended by itself each key's last session is over; where it has failed,
   * or is no longer read, they live on.
   */
  end(feed: Feed, byItself = true): void {
    for (const [name, here] of this.#partitions) {
      if (here.feed !== feed) continue;
      this.#partitions.delete(name);
      this.#flush(here);
      if (!byItself) continue;
      for (const key of here.spans.keys()) this.#d.mark(key, SOURCE_END_MARK);
    }
  }

  /** The router drains: everything goes on, in order. */
  flushAll(): void {
    this.#over = true;
    for (const [name, here] of this.#partitions) {
      this.#partitions.delete(name);
      this.#flush(here);
    }
  }

  /** Takes out what is held of a partition that goes to somebody else. */
  takeOut(feed: Feed, partition: string): { key: Key; envelope: Envelope }[] {
    const name = nameOf(feed, partition);
    const here = this.#partitions.get(name);
    if (here === undefined) return [];
    this.#partitions.delete(name);
    const taken: Timed[] = [];
    for (let timed = here.heap.pop(); timed !== undefined; timed = here.heap.pop())
      taken.push(timed);
    this.held -= taken.length;
    return taken.toSorted((one, other) => one.number - other.number);
  }

  /** When lateness alone fills the router, the watermark moves on. */
  unblock(): void {
    const { ledger, settings } = this.#d;
    while (this.held > 0 && ledger.held >= settings.maxHeld && ledger.held === this.held) {
      let first: PartitionTime | undefined;
      for (const here of this.#partitions.values()) {
        if ((here.heap.first?.time ?? Infinity) < (first?.heap.first?.time ?? Infinity))
          first = here;
      }
      if (first?.heap.first === undefined) return;
      this.#d.forced("watermark");
      this.#advance(first, first.heap.first.time);
    }
  }

  /** The same for a partition that has its own credit, and room for `count` messages. */
  unblockPartition(feed: Feed, partition: string, count: number): void {
    const here = this.#partitions.get(nameOf(feed, partition));
    if (here?.heap.first === undefined || here.heap.size < count) return;
    this.#d.forced("watermark");
    this.#advance(here, here.heap.first.time);
  }

  /** The messages held, oldest arrival not first. */
  *waiting(): Generator<Envelope> {
    for (const here of this.#partitions.values()) yield* here.heap.envelopes();
  }

  #partition(partition: string, feed: Feed | undefined): PartitionTime {
    const name = nameOf(feed, partition);
    let here = this.#partitions.get(name);
    if (here === undefined) {
      here = {
        feed,
        greatest: -Infinity,
        watermark: -Infinity,
        heap: new TimeHeap(),
        spans: new Map(),
      };
      this.#partitions.set(name, here);
    }
    return here;
  }

  #behind(here: PartitionTime, key: Key, envelope: Envelope, time: number): void {
    const span = here.spans.get(key);
    const idleMs = this.#idleMs(key);
    if (span === undefined || time >= span.last + idleMs || time <= span.first - idleMs) {
      this.#d.tooLate(key, envelope);
      return;
    }
    span.first = Math.min(span.first, time);
    span.last = Math.max(span.last, time);
    envelope.flags = (envelope.flags | BEHIND) & ~MAY_START;
    this.#pass(here, key, envelope);
  }

  #advance(here: PartitionTime, to: number): void {
    if (to < here.watermark) return;
    here.watermark = to;
    for (
      let first = here.heap.first;
      first !== undefined && first.time <= to;
      first = here.heap.first
    ) {
      here.heap.pop();
      this.held--;
      this.#reach(here, first);
    }
    for (const [key, span] of here.spans) {
      if (span.last + this.#idleMs(key) <= to) {
        here.spans.delete(key);
        this.#d.mark(key, IDLE_MARK);
      } else if (!this.uneven) break;
    }
  }

  #flush(here: PartitionTime): void {
    here.watermark = Infinity;
    for (let timed = here.heap.pop(); timed !== undefined; timed = here.heap.pop()) {
      this.held--;
      this.#reach(here, timed);
    }
  }

  #reach(here: PartitionTime, { key, envelope, time }: Timed): void {
    let span = here.spans.get(key);
    if (span !== undefined) {
      here.spans.delete(key);
      if (time - span.last >= this.#idleMs(key)) {
        this.#d.mark(key, IDLE_MARK);
        span = undefined;
      }
    }
    here.spans.set(key, { first: span?.first ?? time, last: time });
    this.#pass(here, key, envelope);
  }

  #pass(here: PartitionTime, key: Key, envelope: Envelope): void {
    if ((envelope.flags & ENDS) !== 0) here.spans.delete(key);
    this.#d.goOn(key, envelope);
  }

  #idleMs(key: Key): number {
    if (!this.uneven) return this.#d.settings.idleMs;
    return this.#d.sessions.get(key)?.ownIdleMs ?? this.#d.settings.idleMs;
  }
}

function nameOf(feed: Feed | undefined, partition: string): string {
  return `${feed?.id ?? ""}/${partition}`;
}

/** A binary heap by time, then by order of arrival. */
class TimeHeap {
  readonly #items: Timed[] = [];

  get size(): number {
    return this.#items.length;
  }

  get first(): Timed | undefined {
    return this.#items[0];
  }

  *envelopes(): Generator<Envelope> {
    for (const item of this.#items) yield item.envelope;
  }

  push(item: Timed): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] as Timed;
      if (!before(item, above)) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  pop(): Timed | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (first === undefined || last === undefined || items.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= items.length) break;
      const right = child + 1;
      if (right < items.length && before(items[right] as Timed, items[child] as Timed))
        child = right;
      const below = items[child] as Timed;
      if (!before(below, last)) break;
      items[at] = below;
      at = child;
    }
    items[at] = last;
    return first;
  }
}

function before(one: Timed, other: Timed): boolean {
  return one.time < other.time || (one.time === other.time && one.number < other.number);
}
