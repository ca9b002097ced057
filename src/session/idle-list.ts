// Idle time: one list in order of last activity for each distinct idleMs, and
// one timer in all, not one a session.
//
// An activity moves its session to the end of its list, which keeps the list
// in order; the timer looks at the heads only. Times are whole milliseconds
// since the router was made, rounded up, so that an end is never early.
import type { Clock } from "../task/clock.ts";

/** What stands in a list. @internal */
export interface Idler {
  ownIdleMs: number;
  /** When it became quiet */
  quietAt: number;
  idleBefore: Idler | undefined;
  idleAfter: Idler | undefined;
  idleList: IdleList | undefined;
}

/** @internal */
export class IdleList {
  readonly ms: number;
  first: Idler | undefined = undefined;
  last: Idler | undefined = undefined;

  constructor(ms: number) {
    this.ms = ms;
  }

  append(idler: Idler): void {
    idler.idleList = this;
    idler.idleBefore = this.last;
    idler.idleAfter = undefined;
    if (this.last === undefined) this.first = idler;
    else this.last.idleAfter = idler;
    this.last = idler;
  }

  remove(idler: Idler): void {
    const { idleBefore, idleAfter } = idler;
    if (idleBefore === undefined) this.first = idleAfter;
    else idleBefore.idleAfter = idleAfter;
    if (idleAfter === undefined) this.last = idleBefore;
    else idleAfter.idleBefore = idleBefore;
    idler.idleBefore = idler.idleAfter = idler.idleList = undefined;
  }
}

/** @internal */
export class IdleLists {
  readonly #clock: Clock;
  readonly #epoch: number;
  /** Ends a session that has been quiet for long enough */
  readonly #expire: (idler: Idler) => void;
  readonly #lists = new Map<number, IdleList>();
  #lastList: IdleList | undefined = undefined;
  #cancelTimer: (() => void) | undefined = undefined;
  #timerAt = Infinity;

  constructor(clock: Clock, epoch: number, expire: (idler: Idler) => void) {
    this.#clock = clock;
    this.#epoch = epoch;
    this.#expire = expire;
  }

  /** It has just become quiet. */
  touch(idler: Idler, at: number): void {
    const list = idler.idleList;
    if (list !== undefined && list.ms === idler.ownIdleMs) {
      if (idler.quietAt === at || list.last === idler) {
        idler.quietAt = at;
        return;
      }
      list.remove(idler);
      idler.quietAt = at;
      list.append(idler);
      return;
    }
    list?.remove(idler);
    idler.quietAt = at;
    this.#listOf(idler.ownIdleMs).append(idler);
    if (at + idler.ownIdleMs < this.#timerAt) this.#arm(at + idler.ownIdleMs);
  }

  /** What was touched at `from` went on until `to`. */
  restamp(from: number, to: number): void {
    for (const list of this.#lists.values()) {
      for (let at = list.last; at !== undefined && at.quietAt === from; at = at.idleBefore) {
        at.quietAt = to;
      }
    }
  }

  remove(idler: Idler): void {
    idler.idleList?.remove(idler);
  }

  /** Calls the timer off when nobody is left to end: it would keep the process alive. */
  tidy(): void {
    if (this.#cancelTimer !== undefined && this.#empty()) this.#disarm();
  }

  /** The one that has been quiet for the longest and satisfies `fits`. */
  idlest(fits: (idler: Idler) => boolean): Idler | undefined {
    let found: Idler | undefined;
    for (const list of this.#lists.values()) {
      let at = list.first;
      while (at !== undefined && !fits(at)) at = at.idleAfter;
      if (at !== undefined && (found === undefined || at.quietAt < found.quietAt)) found = at;
    }
    return found;
  }

  #empty(): boolean {
    for (const list of this.#lists.values()) {
      if (list.ms !== Infinity && list.first !== undefined) return false;
    }
    return true;
  }

  #listOf(ms: number): IdleList {
    if (this.#lastList?.ms === ms) return this.#lastList;
    let list = this.#lists.get(ms);
    if (list === undefined) {
      // Lists that have emptied are swept when a new one is needed, so that a
      // session.idleMs of its own for every session does not pile them up.
      for (const [old, { first }] of this.#lists) if (first === undefined) this.#lists.delete(old);
      list = new IdleList(ms);
      this.#lists.set(ms, list);
    }
    this.#lastList = list;
    return list;
  }

  #arm(at: number): void {
    this.#disarm();
    if (at === Infinity) return;
    this.#timerAt = at;
    const delay = Math.max(0, this.#epoch + at - this.#clock.now());
    this.#cancelTimer = this.#clock.wakeAfter(delay, () => this.#wake());
  }

  #disarm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
  }

  #wake(): void {
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
    const time = this.#clock.now() - this.#epoch;
    let next = Infinity;
    for (const list of this.#lists.values()) {
      let at = list.first;
      while (at !== undefined && at.quietAt + list.ms <= time) {
        // Out of the list first: one that is busy comes back when it is quiet.
        list.remove(at);
        this.#expire(at);
        at = list.first;
      }
      if (at !== undefined) next = Math.min(next, at.quietAt + list.ms);
    }
    // What was expired may have brought new ones in, and armed the timer.
    if (next < this.#timerAt) this.#arm(next);
  }
}
