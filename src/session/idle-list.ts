// Idle time: one timer in all, not one a session, and nothing to move when a
// message has been handled.
//
// A session is put down in the slot of the millisecond in which it became
// quiet, and stays there while it is active again and again: only `quietAt` is
// written. When a slot's time has come, whoever has been active since goes to
// the slot where it belongs now; the others have been quiet for long enough. So
// each session is moved at most once in its idle time, however many messages it
// gets. Times are whole milliseconds since the router was made, rounded up, so
// that an end is never early.
import type { Clock } from "../task/clock.ts";

/** What stands in a slot. @internal */
export interface Idler {
  readonly ownIdleMs: number;
  /** When it became quiet */
  quietAt: number;
  idleBefore: Idler | undefined;
  idleAfter: Idler | undefined;
  idleSlot: IdleSlot | undefined;
}

/** Those that were quiet at `at`, or since. @internal */
export class IdleSlot {
  readonly group: IdleGroup;
  readonly at: number;
  first: Idler | undefined = undefined;

  constructor(group: IdleGroup, at: number) {
    this.group = group;
    this.at = at;
  }

  add(idler: Idler): void {
    idler.idleSlot = this;
    idler.idleBefore = undefined;
    idler.idleAfter = this.first;
    if (this.first !== undefined) this.first.idleBefore = idler;
    this.first = idler;
  }

  remove(idler: Idler): void {
    const { idleBefore, idleAfter } = idler;
    if (idleBefore === undefined) this.first = idleAfter;
    else idleBefore.idleAfter = idleAfter;
    if (idleAfter !== undefined) idleAfter.idleBefore = idleBefore;
    idler.idleBefore = idler.idleAfter = idler.idleSlot = undefined;
    if (this.first === undefined) this.group.slots.delete(this.at);
  }
}

/** The slots of one idle time. @internal */
export class IdleGroup {
  readonly ms: number;
  /** Slots that somebody stands in */
  readonly slots: Map<number, IdleSlot> = new Map();
  /** Their times, the earliest first; some may be of slots that have emptied */
  #times: number[] = [];

  constructor(ms: number) {
    this.ms = ms;
  }

  enroll(idler: Idler): void {
    const at = idler.quietAt;
    let slot = this.slots.get(at);
    if (slot === undefined) {
      slot = new IdleSlot(this, at);
      this.slots.set(at, slot);
      this.#pushTime(at);
    }
    slot.add(idler);
  }

  /** The earliest slot that somebody stands in. */
  get earliest(): IdleSlot | undefined {
    for (;;) {
      const at = this.#times[0];
      if (at === undefined) return undefined;
      const slot = this.slots.get(at);
      if (slot !== undefined) return slot;
      this.#popTime();
    }
  }

  #pushTime(at: number): void {
    // Times of emptied slots are thrown out before they outnumber the others.
    if (this.#times.length > 2 * this.slots.size + 64) {
      this.#times = [...this.slots.keys()].toSorted((one, other) => one - other);
      if (this.slots.has(at)) return;
    }
    const times = this.#times;
    let here = times.length;
    while (here > 0) {
      const parent = (here - 1) >> 1;
      const above = times[parent] as number;
      if (above <= at) break;
      times[here] = above;
      here = parent;
    }
    times[here] = at;
  }

  #popTime(): void {
    const times = this.#times;
    const last = times.pop() as number;
    if (times.length === 0) return;
    let here = 0;
    for (;;) {
      let child = here * 2 + 1;
      if (child >= times.length) break;
      if (child + 1 < times.length && (times[child + 1] as number) < (times[child] as number))
        child++;
      if ((times[child] as number) >= last) break;
      times[here] = times[child] as number;
      here = child;
    }
    times[here] = last;
  }
}

/** @internal */
export class IdleLists {
  readonly #clock: Clock;
  readonly #epoch: number;
  /** Ends a session that has been quiet for long enough; one that is busy comes back when it is quiet */
  readonly #expire: (idler: Idler) => void;
  readonly #groups = new Map<number, IdleGroup>();
  #cancelTimer: (() => void) | undefined = undefined;
  #timerAt = Infinity;

  constructor(clock: Clock, epoch: number, expire: (idler: Idler) => void) {
    this.#clock = clock;
    this.#epoch = epoch;
    this.#expire = expire;
  }

  /** It has just become quiet. */
  touch(idler: Idler, at: number): void {
    idler.quietAt = at;
    if (idler.idleSlot === undefined) this.#enroll(idler);
  }

  remove(idler: Idler): void {
    idler.idleSlot?.remove(idler);
  }

  /** Calls the timer off when nobody is left to end: it would keep the process alive. */
  tidy(): void {
    if (this.#cancelTimer === undefined) return;
    for (const [ms, { slots }] of this.#groups) if (ms !== Infinity && slots.size > 0) return;
    this.#disarm();
  }

  /** The one that has been quiet for the longest and satisfies `fits`. */
  idlest(fits: (idler: Idler) => boolean): Idler | undefined {
    let found: Idler | undefined;
    for (const group of this.#groups.values()) {
      const idler = this.#idlestOf(group, fits);
      if (idler !== undefined && (found === undefined || idler.quietAt < found.quietAt))
        found = idler;
    }
    return found;
  }

  #idlestOf(group: IdleGroup, fits: (idler: Idler) => boolean): Idler | undefined {
    for (let slot = group.earliest; slot !== undefined; slot = group.earliest) {
      // Youngest first in a slot: the last one that fits has stood there longest.
      let found: Idler | undefined;
      for (let idler = slot.first, next: Idler | undefined; idler !== undefined; idler = next) {
        next = idler.idleAfter;
        if (idler.quietAt > slot.at) this.#enrollAgain(slot, idler);
        else if (fits(idler)) found = idler;
        else slot.remove(idler);
      }
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #enrollAgain(slot: IdleSlot, idler: Idler): void {
    slot.remove(idler);
    slot.group.enroll(idler);
  }

  #enroll(idler: Idler): void {
    const ms = idler.ownIdleMs;
    let group = this.#groups.get(ms);
    if (group === undefined) {
      // Groups that have emptied are swept when a new one is needed, so that an
      // idle time of its own for every session does not pile them up.
      for (const [old, { slots }] of this.#groups) if (slots.size === 0) this.#groups.delete(old);
      group = new IdleGroup(ms);
      this.#groups.set(ms, group);
    }
    group.enroll(idler);
    if (idler.quietAt + ms < this.#timerAt) this.#arm(idler.quietAt + ms);
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
    this.#disarm();
    const time = this.#clock.now() - this.#epoch;
    let next = Infinity;
    for (const group of this.#groups.values()) {
      let slot = group.earliest;
      for (; slot !== undefined && slot.at + group.ms <= time; slot = group.earliest) {
        this.#empty(slot);
      }
      if (slot !== undefined) next = Math.min(next, slot.at + group.ms);
    }
    // What was ended may have brought new ones in, and armed the timer.
    if (next < this.#timerAt) this.#arm(next);
  }

  #empty(slot: IdleSlot): void {
    for (let idler = slot.first; idler !== undefined; idler = slot.first) {
      if (idler.quietAt > slot.at) this.#enrollAgain(slot, idler);
      else {
        slot.remove(idler);
        this.#expire(idler);
      }
    }
  }
}
