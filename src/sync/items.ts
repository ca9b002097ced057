// What the three queues keep their items in. None of them knows of waits.

/** @internal */
export interface Items<T> {
  readonly length: number;
  /** Adds an item. When it throws, nothing was added. */
  push(item: T): void;
  /** Takes the item out that is next; there must be one. When it throws, nothing was taken. */
  take(): T;
  clear(): void;
}

const leastSlots = 16;

/**
 * First in, first out. `Array.shift` moves every item that stays; a ring moves
 * none, and gives its room back when a burst is over.
 *
 * @internal
 */
export class Ring<T> implements Items<T> {
  length = 0;
  // As many as a power of two, so that going round is one "and"; none while nothing was ever put.
  #slots: (T | undefined)[] = [];
  #head = 0;

  push(item: T): void {
    if (this.length === this.#slots.length) this.#resize(Math.max(leastSlots, this.length * 2));
    this.#slots[(this.#head + this.length) & (this.#slots.length - 1)] = item;
    this.length++;
  }

  take(): T {
    const slots = this.#slots;
    const item = slots[this.#head] as T;
    slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & (slots.length - 1);
    this.length--;
    if (slots.length > leastSlots && this.length * 4 < slots.length) this.#resize(slots.length / 2);
    return item;
  }

  clear(): void {
    this.#slots = [];
    this.#head = this.length = 0;
  }

  #resize(count: number): void {
    const before = this.#slots;
    // oxlint-disable-next-line no-new-array -- the room is wanted at once
    const slots = new Array<T | undefined>(count);
    for (let at = 0; at < this.length; at++) {
      slots[at] = before[(this.#head + at) & (before.length - 1)];
    }
    this.#slots = slots;
    this.#head = 0;
  }
}

/** Last in, first out. @internal */
export class Stack<T> implements Items<T> {
  readonly #items: T[] = [];

  get length(): number {
    return this.#items.length;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  take(): T {
    return this.#items.pop() as T;
  }

  clear(): void {
    this.#items.length = 0;
  }
}

interface Ranked<T> {
  readonly item: T;
  /** The how manieth it was: equals come out in the order in which they went in */
  readonly turn: number;
}

/**
 * Smallest first, equals in order of arrival: a binary heap.
 *
 * The comparison is the user's and may throw. So every place is found first,
 * and items are moved only when all the comparisons are done.
 *
 * @internal
 */
export class Heap<T> implements Items<T> {
  readonly #compare: (a: T, b: T) => number;
  readonly #ranked: Ranked<T>[] = [];
  #turn = 0;

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  get length(): number {
    return this.#ranked.length;
  }

  push(item: T): void {
    const heap = this.#ranked;
    const added: Ranked<T> = { item, turn: this.#turn };
    let place = heap.length;
    const way = [place];
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#before(added, heap[parent]!)) break;
      place = parent;
      way.push(place);
    }
    this.#turn++;
    this.#moveAlong(way, added);
  }

  take(): T {
    const heap = this.#ranked;
    const last = heap[heap.length - 1]!;
    const left = heap.length - 1;
    const way = [0];
    for (let place = 0; ;) {
      let child = 2 * place + 1;
      if (child >= left) break;
      if (child + 1 < left && this.#before(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#before(heap[child]!, last)) break;
      place = child;
      way.push(place);
    }
    const { item } = heap[0]!;
    heap.pop();
    if (left > 0) this.#moveAlong(way, last);
    return item;
  }

  clear(): void {
    this.#ranked.length = 0;
  }

  #before(a: Ranked<T>, b: Ranked<T>): boolean {
    const order = this.#compare(a.item, b.item);
    return order < 0 || (!(order > 0) && a.turn < b.turn);
  }

  /** Moves each item on `way` one place back along it, and puts `entry` at its end. */
  #moveAlong(way: readonly number[], entry: Ranked<T>): void {
    const heap = this.#ranked;
    for (let step = 1; step < way.length; step++) heap[way[step - 1]!] = heap[way[step]!]!;
    heap[way[way.length - 1]!] = entry;
  }
}

/** The order of numbers, strings, bigints and dates. @internal */
export function naturalOrder(a: unknown, b: unknown): number {
  refuseUnordered(a);
  refuseUnordered(b);
  if ((a as number) < (b as number)) return -1;
  return (a as number) > (b as number) ? 1 : 0;
}

function refuseUnordered(value: unknown): void {
  // An object compares as "[object Object]", and [10, "x"] as the text "10,x",
  // which is less than "9,x": an order that nobody means.
  if (value instanceof Date) return;
  if (typeof value === "object" || typeof value === "function" || typeof value === "symbol") {
    throw new TypeError(
      `Cannot order items: ${value === null ? "null" : `a value of type ${typeof value}`} has no order, give the queue a compare(a, b)`,
    );
  }
}
