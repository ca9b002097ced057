// From a message to its session: keys, room, places, permits and turns.
//
// Everything that happens to sessions is decided here synchronously; handlers
// are called from the ready line, in batches, in the router's own async
// context, never in that of whoever happened to send.
import type { DeadLetterReason, Delivery, Key } from "../message/delivery.ts";
import { type Clock, nextTurn, turnMs } from "../task/clock.ts";
import { showOnDemand } from "../task/live.ts";
import { currentScope, EnterPoint, enterScope, ground, runInScope, Scope } from "../task/scope.ts";
import { InvalidStateError } from "../task/errors.ts";
import type { Task } from "../task/task.ts";
import { refusal, suspend, type Wait, type WaitKind, type WaitOptions } from "../task/wait.ts";
import type { Feed } from "./consume.ts";
import {
  InboxFullError,
  InvalidMessageError,
  RouterClosedError,
  SelfSendError,
  show,
} from "./errors.ts";
import { EventTime } from "./watermark.ts";
import { Validation, type Validated } from "./schema.ts";
import { IdleLists, type Idler } from "./idle-list.ts";
import {
  BEHIND,
  ENDS,
  Envelope,
  ONE_TRY,
  UNADMITTED,
  HELD,
  IDLE_MARK,
  INSIDE,
  INTERRUPTED,
  MARK,
  MAY_START,
  STARTS,
} from "./inbox.ts";
import { Ledger } from "./ledger.ts";
import { report } from "./report.ts";
import {
  childEnded,
  endSession,
  handlerEnded,
  hastenEnd,
  ignored,
  open,
  retryNow,
  unpark,
  watchGrace,
} from "./lifecycle.ts";
import * as loopStyle from "./loop-style.ts";
import * as messageStyle from "./message-style.ts";
import type { EndReason } from "./options.ts";
import { ReadyLine } from "./ready-line.ts";
import { SavedStates } from "./saved.ts";
import { AGAIN, BEGUN, END_ASKED, LiveSession, PERMIT, PLACE, STARTED } from "./session.ts";
import type { Settings } from "./settings.ts";
import { EndedRing } from "./why.ts";

/** How patient whoever brings a message is: `trySend`, `send`, `consume`. */
type Patience = "never" | "line" | "held";

// So many messages go by between two looks at the clock, and so long may a
// batch keep the event loop.
const messagesPerLook = 64;
const longTurnMs = 5;

const sendWait: WaitKind = {
  name: "SessionRouter.send",
  withdraw(wait) {
    (wait.target as Dispatcher).withdrawSend(wait as unknown as Wait<void>);
  },
};

const callWait: WaitKind = {
  name: "SessionRouter.call",
  withdraw(wait) {
    (wait.target as Dispatcher).withdrawCall(wait as unknown as Wait<unknown>);
  },
};

const joinWait: WaitKind = {
  name: "SessionRouter.join",
  withdraw(wait) {
    (wait.target as Dispatcher).joiners.delete(wait as unknown as Wait<void>);
  },
};

const accepted = Promise.resolve();

/** @internal */
export class Dispatcher {
  readonly settings: Settings;
  readonly ledger: Ledger;
  readonly idle: IdleLists;
  readonly saved: SavedStates;
  readonly ended: EndedRing = new EndedRing();
  /** Sessions by key; one that is ending stays until it is wholly gone, and its line is the next one's */
  readonly sessions: Map<Key, LiveSession> = new Map();
  /** The clock when the router was made; times of sessions and messages count from here */
  readonly epoch: number;
  state: "open" | "draining" | "closed" = "open";
  /** The deadline of the drain is over: what still comes is given up */
  givesUp = false;
  /** What a session that has nothing left to do ends as, while the router drains */
  drainReason: "drained" | "sourceEnded" = "drained";
  live = 0;
  peakLive = 0;
  running = 0;
  parked = 0;
  overdue = 0;
  readonly eventTime: EventTime | undefined;
  /** Message style: calls that are used again */
  readonly calls: messageStyle.Call[] = [];
  sourcesSeen = 0;
  sourcesEnded = 0;
  readonly feeds: Set<Feed> = new Set();
  readonly joiners: Set<Wait<void>> = new Set();
  /** Called when a session is gone or something has left: whoever drains or revokes looks again */
  readonly watchers: Set<() => void> = new Set();
  /** The scope of message-style calls without a promise: its owner is the session being called */
  batchScope: Scope;
  batchPoint: EnterPoint;
  /** Message style: a handler has given a promise once, so each session gets a context of its own */
  asynchronous = false;
  /** Making a state takes its time: it is done in a task, which can be cancelled */
  asynchronousState = false;

  readonly #ready = new ReadyLine();
  /** Keys that wait for a place among maxLive, first come first served */
  readonly #starters = new Set<LiveSession>();
  /** Sends that wait because maxHeld is reached */
  readonly #roomLine = new Set<Wait<void>>();
  /** Sessions whose next waiting send could not be admitted because of maxHeld */
  readonly #admissionsDue = new Set<LiveSession>();
  // What every message asks for, out of the settings.
  readonly #starts: Settings["starts"];
  readonly #ends: Settings["ends"];
  readonly #startFlags: number;
  readonly #inboxSize: number;
  readonly #maxHeld: number;
  readonly #plain: boolean;
  readonly #handsDirectly: boolean;
  readonly #validation: Validation | undefined;
  readonly #warned = new Set<string>();
  #relieving: "no" | "once" | "again" = "no";
  #batchScheduled = false;
  #inBatch = false;
  #keyType: "string" | "number" | undefined = undefined;
  #time = 0;
  #timeKnown = false;
  #timeUses = 0;
  /** Sessions that became quiet since the clock was looked at */
  readonly #touched: (LiveSession | undefined)[] = Array.from({ length: messagesPerLook + 1 });
  #touchedCount = 0;
  #steps = 0;

  constructor(settings: Settings) {
    this.settings = settings;
    this.epoch = settings.clock.now();
    this.ledger = new Ledger(settings, this.#released);
    this.saved = new SavedStates(settings.store);
    // With event time the clock ends nothing: the lists only say who is the idlest.
    const clock = settings.time === undefined ? settings.clock : new SleepingClock(settings.clock);
    this.idle = new IdleLists(clock, this.epoch, this.#expire);
    const around = currentScope();
    this.batchScope = new Scope(undefined, undefined, settings.clock, undefined, around?.root);
    this.batchPoint = this.pointIn(this.batchScope);
    this.#starts = settings.starts;
    this.#ends = settings.ends;
    // Whether a start message is a duplicate matters only where it makes a difference.
    this.#startFlags = settings.duplicateStart === "deliver" ? MAY_START : MAY_START | STARTS;
    this.#inboxSize = settings.inboxSize;
    this.#maxHeld = settings.maxHeld;
    this.#handsDirectly = settings.maxRunning === Infinity;
    this.#plain =
      settings.schema === undefined &&
      settings.time === undefined &&
      settings.interrupts === undefined;
    this.eventTime = settings.time === undefined ? undefined : new EventTime(this);
    this.#validation =
      settings.schema === undefined ? undefined : new Validation(settings.schema, this.#released);
    if (settings.style === "message") showOnDemand(this);
    this.asynchronous = isAsyncFunction(settings.message) || isAsyncFunction(settings.output);
    this.asynchronousState = isAsyncFunction(settings.state);
  }

  // Time, in whole milliseconds since the router was made, read once a burst.

  time(): number {
    if (!this.#timeKnown) {
      this.#timeKnown = true;
      this.#timeUses = 0;
      this.#time = this.#readTime();
      void accepted.then(this.#forgetTime);
    } else if (++this.#timeUses >= messagesPerLook) this.#lookAgain();
    return this.#time;
  }

  #readTime(): number {
    // Rounded up: an idle end that counts from it is never early.
    return Math.ceil(this.settings.clock.now() - this.epoch);
  }

  #lookAgain(): void {
    this.#timeUses = 0;
    const before = this.#time;
    this.#time = this.#readTime();
    // What was stamped with the old time may have gone on until now.
    const count = this.#touchedCount;
    this.#touchedCount = 0;
    if (this.#time === before) return;
    for (let at = 0; at < count; at++) {
      const session = this.#touched[at] as LiveSession;
      if (session.quietAt === before) session.quietAt = this.#time;
    }
  }

  readonly #forgetTime = (): void => {
    this.#lookAgain();
    this.#timeKnown = false;
    if (this.live === 0) this.idle.tidy();
  };

  // Contexts.

  /** A context in which `scope` is the current one, on top of nothing else. */
  pointIn(scope: Scope): EnterPoint {
    return ground.runInAsyncScope(makePoint, undefined, scope);
  }

  /** Calls `work(arg)` in `scope`, on top of the router's own context. */
  runIn<A>(scope: Scope, work: (arg: A) => void, arg: A): void {
    ground.runInAsyncScope(enterAndRun<A>, undefined, scope, work, arg);
  }

  scopeOf(session: LiveSession): Scope {
    return (session.scope ??= new Scope(
      undefined,
      undefined,
      this.settings.clock,
      session,
      this.batchScope.root,
    ));
  }

  // Accepting.

  trySend(message: unknown): boolean {
    if (this.state !== "open") return false;
    if (!this.#plain) return this.#trySendOther(message);
    const key = this.keyOf(message, undefined);
    const flags = this.#flagsOf(message);
    const session = this.sessions.get(key);
    const { ledger } = this;
    // The way of nearly every message: a live session with room in its inbox.
    if (
      session !== undefined &&
      session.border === undefined &&
      session.length < this.#inboxSize &&
      session.status !== "waiting" &&
      session.status !== "parked" &&
      ledger.held < this.#maxHeld &&
      this.#roomLine.size === 0
    ) {
      ledger.held++;
      const envelope = new Envelope(message, flags | HELD | INSIDE, this.time());
      if (session.status !== "quiet") session.append(envelope);
      else if (this.#handsDirectly && session.waiter !== undefined && (flags & STARTS) === 0) {
        // A loop that waits: straight into its hand.
        envelope.flags += ONE_TRY;
        loopStyle.give(this, session, envelope);
      } else {
        session.append(envelope);
        this.wake(session);
      }
      return true;
    }
    return this.#tryAdmit(key, new Envelope(message, flags, this.time()));
  }

  #tryAdmit(key: Key, envelope: Envelope): boolean {
    if (this.ledger.held >= this.#maxHeld || this.#roomLine.size > 0) {
      this.unblock();
      return false;
    }
    return this.admit(key, envelope, "never") === "accepted";
  }

  /** With a schema, event time or interruptions. */
  #trySendOther(given: unknown): boolean {
    const message = this.#validation === undefined ? given : this.#validation.now(given);
    const key = this.keyOf(message, undefined);
    const envelope = this.envelope(message);
    if (this.eventTime === undefined) return this.#tryAdmit(key, envelope);
    const time = this.timeOf(message);
    if (this.ledger.held >= this.#maxHeld || this.#roomLine.size > 0) {
      this.unblock();
      return false;
    }
    this.eventTime.hold(key, envelope, "", time);
    return true;
  }

  send(message: unknown, options?: WaitOptions): Promise<void> {
    return this.#enterValid(message, options, undefined);
  }

  #enterValid(
    message: unknown,
    options: WaitOptions | undefined,
    ticket: Wait<unknown> | undefined,
  ): Promise<void> {
    if (this.#validation === undefined) return this.#enter(message, options, ticket);
    return this.#validation.send(message, (valid) => this.#enter(valid, options, ticket));
  }

  /** Validates what was consumed, in order, and calls `then` with what came of it. */
  validated(message: unknown, then: (result: Validated) => void): void {
    this.#validation?.run(message, then);
  }

  /** Calls `then` when everything that came before is validated. */
  afterValidation(then: () => void): void {
    if (this.#validation === undefined) then();
    else this.#validation.after(then);
  }

  /** How many messages are being validated: read already, and not yet held. */
  get validating(): number {
    return this.#validation?.waiting ?? 0;
  }

  call(message: unknown, options?: WaitOptions): Promise<unknown> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    const ticket = suspend<unknown>(callWait, this, scope, options);
    const entered = this.#enterValid(message, options, ticket);
    entered.then(undefined, (error: unknown) => ticket.reject(error));
    return ticket.promise;
  }

  #enter(
    message: unknown,
    options: WaitOptions | undefined,
    ticket: Wait<unknown> | undefined,
  ): Promise<void> {
    const scope = currentScope();
    const refused = ticket === undefined ? refusal(scope, options) : undefined;
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.state !== "open")
      return Promise.reject(closed(ticket === undefined ? "send" : "call"));
    try {
      const key = this.keyOf(message, undefined);
      const envelope = this.envelope(message);
      const time = this.eventTime === undefined ? 0 : this.timeOf(message);
      const own = scope?.owner instanceof LiveSession ? scope.owner : undefined;
      if (ticket !== undefined) {
        if (own?.host === this && own.key === key && this.sessions.get(key) === own) {
          throw new SelfSendError(key, "call");
        }
        envelope.needExtra().ticket = ticket;
        ticket.item = envelope;
      }
      // A handler's own messages are not made to wait for maxHeld: the room
      // that they wait for might be their own.
      const full = this.ledger.held >= this.settings.maxHeld || this.#roomLine.size > 0;
      if (full && own?.host !== this) {
        const wait = suspend<void>(sendWait, this, scope, options, envelope);
        envelope.needExtra().sender = wait;
        this.#roomLine.add(wait);
        this.watch();
        this.#keys.set(envelope, { key, time });
        this.unblock();
        return wait.promise;
      }
      return this.#place(key, envelope, time, scope, options, own);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /** Where the sends that wait for maxHeld want to go. */
  readonly #keys = new WeakMap<Envelope, { readonly key: Key; readonly time: number }>();

  #place(
    key: Key,
    envelope: Envelope,
    time: number,
    scope: Scope | undefined,
    options: WaitOptions | undefined,
    own: LiveSession | undefined,
  ): Promise<void> {
    if (this.eventTime !== undefined) {
      this.eventTime.hold(key, envelope, "", time);
      return accepted;
    }
    const how = this.admit(key, envelope, "line");
    if (how === "accepted") return accepted;
    if (how === "full") {
      return Promise.reject(new InboxFullError(key, this.settings.inboxSize));
    }
    if (own !== undefined && own.host === this && own.key === key) {
      this.#unqueue(key, envelope);
      return Promise.reject(new SelfSendError(key, "send"));
    }
    const wait = suspend<void>(sendWait, this, scope, options, envelope);
    envelope.needExtra().sender = wait;
    return wait.promise;
  }

  /** A send that waits no longer: its message was not accepted. */
  withdrawSend(wait: Wait<void>): void {
    const envelope = wait.item as Envelope;
    if (this.#roomLine.delete(wait)) return;
    for (const [key, session] of this.sessions) {
      if (session.length > 0 && this.#unqueue(key, envelope)) return;
    }
  }

  /** A caller that waits no longer; its message stays, unless it was still waiting for room. */
  withdrawCall(wait: Wait<unknown>): void {
    const envelope = wait.item as Envelope | undefined;
    const extra = envelope?.extra;
    if (extra === undefined) return;
    extra.ticket = undefined;
    extra.sender?.abandon(new NotAccepted());
  }

  #unqueue(key: Key, envelope: Envelope): boolean {
    const session = this.sessions.get(key);
    if (session?.remove(envelope) !== true) return false;
    if (session.status === "waiting" && session.head === undefined) this.#forget(session);
    return true;
  }

  /** What is known of a message before it has a place. */
  envelope(message: unknown): Envelope {
    return new Envelope(message, this.#flagsOf(message), this.time());
  }

  #flagsOf(message: unknown): number {
    let flags = MAY_START;
    if (this.#starts !== undefined) flags = this.#starts(message) ? this.#startFlags : 0;
    if (this.#ends !== undefined && this.#ends(message)) flags |= ENDS;
    return flags;
  }

  keyOf(message: unknown, delivery: Delivery | undefined): Key {
    const make = this.settings.key;
    const theirs = delivery?.key;
    const key = make === undefined ? theirs : make(message);
    if (typeof key === this.#keyType && (typeof key === "string" || Number.isFinite(key))) {
      if (make === undefined || theirs === undefined || String(theirs) === String(key)) {
        return key as Key;
      }
    }
    return this.#unusualKey(key, theirs);
  }

  #unusualKey(key: unknown, theirs: Key | undefined): Key {
    if (typeof key !== "string" && !(typeof key === "number" && Number.isFinite(key))) {
      const what =
        key === undefined && this.settings.key === undefined
          ? "none: the source gave none, and the router was given no key option"
          : inWords(key);
      throw new InvalidMessageError(
        `Cannot route a message: its key must be a string or a finite number, and it is ${what}`,
      );
    }
    this.#keyType ??= typeof key as "string" | "number";
    if (typeof key !== this.#keyType) {
      throw new InvalidMessageError(
        `Cannot route a message: this router's keys are ${this.#keyType}s, and its key is the ${typeof key} ${show(key)}`,
      );
    }
    if (theirs !== undefined && String(theirs) !== String(key)) {
      throw new InvalidMessageError(
        `Cannot route a message: its key is ${show(key)}, and its source says ${show(theirs)}`,
      );
    }
    return key;
  }

  timeOf(message: unknown): number {
    const time = this.settings.time?.(message);
    if (typeof time === "number" && Number.isFinite(time)) return time;
    throw new InvalidMessageError(
      `Cannot route a message: its time must be a finite number of milliseconds, and it is ${String(time)}`,
    );
  }

  /**
   * Gives a message its place in its key's line.
   *
   * @returns `waits` when it stands in the line but has no room yet, and is not accepted
   */
  admit(
    key: Key,
    envelope: Envelope,
    patience: Patience,
  ): "accepted" | "waits" | "refused" | "full" {
    let session = this.#sessionFor(key, envelope, patience);
    if (typeof session === "string") return session;
    if (this.settings.interrupts !== undefined && session.status !== "waiting") {
      this.#interrupt(session, envelope);
      // Code of the user's has run: the session may have gone meanwhile.
      session = this.#sessionFor(key, envelope, patience);
      if (typeof session === "string") return session;
    }
    if (session.status === "waiting") return this.#putWaiting(session, envelope, patience);
    const inside = session.border === undefined && session.length < this.settings.inboxSize;
    if (!inside && session.status !== "parked") return this.#putFull(session, envelope, patience);
    this.#put(session, envelope, inside);
    return "accepted";
  }

  /** The key's session, made now if there is none; or what has become of the message without one. */
  #sessionFor(
    key: Key,
    envelope: Envelope,
    patience: Patience,
  ): LiveSession | "accepted" | "refused" {
    const session = this.sessions.get(key);
    if (session !== undefined) return session;
    if ((envelope.flags & MAY_START) === 0 && !this.saved.mayHave(key)) {
      this.#accept(envelope);
      this.tooLate(key, envelope);
      return "accepted";
    }
    if (patience === "never" && !this.#placeFree()) return "refused";
    return this.#newSession(key);
  }

  #accept(envelope: Envelope): void {
    this.ledger.accept(envelope);
  }

  #put(session: LiveSession, envelope: Envelope, inside: boolean): void {
    if (session.status === "parked") {
      this.#putParked(session, envelope);
      return;
    }
    this.#accept(envelope);
    session.push(envelope, inside);
    if (session.status === "quiet") this.wake(session);
  }

  #putParked(session: LiveSession, envelope: Envelope): void {
    this.#accept(envelope);
    if (session.length >= this.settings.inboxSize) {
      this.ledger.bury(envelope, session.key, "parked");
      return;
    }
    session.push(envelope, true);
    this.parkMessage(envelope);
  }

  #putWaiting(
    session: LiveSession,
    envelope: Envelope,
    patience: Patience,
  ): "accepted" | "waits" | "refused" {
    if (patience === "never") return "refused";
    session.push(envelope, false);
    if (patience === "line") {
      envelope.flags |= UNADMITTED;
      return "waits";
    }
    this.#accept(envelope);
    return "accepted";
  }

  #putFull(
    session: LiveSession,
    envelope: Envelope,
    patience: Patience,
  ): "accepted" | "waits" | "refused" | "full" {
    const { overflow } = this.settings;
    if (overflow === "wait") {
      if (patience === "never") return "refused";
      session.push(envelope, false);
      if (patience === "line") {
        envelope.flags |= UNADMITTED;
        return "waits";
      }
      this.#accept(envelope);
      return "accepted";
    }
    if (overflow === "reject") {
      if (patience === "never") return "refused";
      if (patience === "line") return "full";
      this.#accept(envelope);
      this.ledger.bury(
        envelope,
        session.key,
        "full",
        new InboxFullError(session.key, this.settings.inboxSize),
      );
      return "accepted";
    }
    this.#accept(envelope);
    const victim = overflow === "dropNewest" ? envelope : oldestOf(session);
    const dropped = victim ?? envelope;
    if ((dropped.flags & ENDS) !== 0) {
      // An end message is never dropped: it goes in beyond the size.
      session.push(envelope, true);
      return "accepted";
    }
    if (dropped !== envelope) {
      session.remove(dropped);
      session.push(envelope, true);
    }
    this.ledger.done(dropped, "dropped", undefined, session.key);
    return "accepted";
  }

  /** Before it has its place, so that a full inbox does not keep it from making room. */
  #interrupt(session: LiveSession, envelope: Envelope): void {
    if (session.endReason !== undefined || session.status === "parked") return;
    if (!this.#interrupts(session, envelope.message)) return;
    if (session.endReason !== undefined) return;
    for (const queued of [...session]) {
      if ((queued.flags & (ENDS | MARK)) !== 0) continue;
      // What still waited for room would have had its place before this one.
      if ((queued.flags & UNADMITTED) !== 0) this.#admitNow(queued);
      // It may start what its predecessor would have started.
      if (!session.has(STARTED)) envelope.flags |= queued.flags & MAY_START;
      session.remove(queued);
      this.ledger.done(queued, "interrupted", undefined, session.key);
      this.#left(session, queued);
    }
    const inHand = session.inHand;
    if (inHand === undefined || (inHand.flags & ENDS) !== 0) return;
    if (session.status === "retrying" || session.has(AGAIN)) {
      session.inHand = undefined;
      session.bits &= ~AGAIN;
      if (!session.has(STARTED)) envelope.flags |= inHand.flags & MAY_START;
      this.ledger.done(inHand, "interrupted", undefined, session.key);
      retryNow(this, session);
      return;
    }
    const running = this.taskOfCall(session);
    // One that was interrupted before is cleaning up.
    if (running === undefined || (inHand.flags & INTERRUPTED) !== 0) return;
    inHand.flags |= INTERRUPTED;
    running.cancel("interrupted by a later message");
    watchGrace(this, session);
  }

  #interrupts(session: LiveSession, message: unknown): boolean {
    try {
      return Boolean(this.settings.interrupts?.(message, session));
    } catch (error) {
      // The message has its place already: it is one that interrupts nothing.
      report(`Cannot tell whether a message of key ${show(session.key)} interrupts`, error);
      return false;
    }
  }

  /** A message that may not start a session, and whose key has none. */
  tooLate(key: Key, envelope: Envelope): void {
    this.ledger.late++;
    if (this.settings.late === "drop") this.ledger.done(envelope, "dropped", undefined, key);
    else this.ledger.bury(envelope, key, "late");
  }

  // Turns.

  /** It has something to do. */
  wake(session: LiveSession): void {
    if (session.waiter !== undefined && this.settings.maxRunning === Infinity) {
      loopStyle.handOver(this, session);
      return;
    }
    session.status = "ready";
    this.#ready.push(session);
    this.schedule();
  }

  /** It goes to the end of the ready line. */
  queueUp(session: LiveSession): void {
    session.status = "ready";
    this.#ready.push(session);
    this.schedule();
  }

  /** Whether another session waits for a permit. */
  get crowded(): boolean {
    return this.#ready.length > 0 && this.running >= this.settings.maxRunning;
  }

  schedule(): void {
    if (this.#batchScheduled || this.#inBatch) return;
    this.#batchScheduled = true;
    void accepted.then(this.#runBatch);
  }

  readonly #runBatch = (): void => {
    this.#batchScheduled = false;
    this.#inBatch = true;
    try {
      this.batchPoint.runInAsyncScope(this.#batch);
    } finally {
      this.#inBatch = false;
    }
    if (this.#ready.length > 0 && this.running < this.settings.maxRunning) {
      this.#batchScheduled = true;
      nextTurn(this.#runBatch);
    }
  };

  readonly #batch = (): void => {
    const { maxRunning, style } = this.settings;
    const step = style === "loop" ? loopStyle.step : messageStyle.step;
    while (this.#ready.length > 0 && this.running < maxRunning) {
      const session = this.#ready.shift() as LiveSession;
      if (session.status === "opening") {
        if (open(this, session)) step(this, session);
      } else if (session.status === "ready") step(this, session);
      if (this.turnOver()) return;
    }
  };

  /** Whether this turn of the event loop has been kept for long enough; asked once a message. */
  turnOver(): boolean {
    return (++this.#steps & (messagesPerLook - 1)) === 0 && turnMs() > longTurnMs;
  }

  takePermit(session: LiveSession): void {
    if (session.has(PERMIT)) return;
    session.bits |= PERMIT;
    this.running++;
  }

  leavePermit(session: LiveSession): void {
    if (!session.has(PERMIT)) return;
    session.bits &= ~PERMIT;
    this.running--;
    if (this.#ready.length > 0) this.schedule();
  }

  /**
   * The next message for a live session; ends it where a mark or a duplicate
   * start says so.
   */
  take(session: LiveSession): Envelope | undefined {
    let envelope: Envelope | undefined;
    while ((envelope = session.head) !== undefined) {
      if ((envelope.flags & MARK) !== 0) {
        session.shift();
        endSession(this, session, (envelope.flags & IDLE_MARK) !== 0 ? "idle" : "sourceEnded");
        return undefined;
      }
      if ((envelope.flags & UNADMITTED) !== 0) {
        // First in line and still not accepted: there is room for it now.
        this.#admitNow(envelope);
      }
      const duplicate =
        (envelope.flags & STARTS) !== 0 &&
        session.has(BEGUN) &&
        this.settings.duplicateStart !== "deliver";
      if (duplicate && this.settings.duplicateStart === "replace") {
        endSession(this, session, "replaced");
        return undefined;
      }
      session.shift();
      this.#left(session, envelope);
      if (!duplicate) {
        session.bits |= BEGUN;
        envelope.flags += ONE_TRY;
        return envelope;
      }
      this.ledger.bury(envelope, session.key, "duplicateStart");
    }
    return undefined;
  }

  /** One has left the inbox: the first behind the border moves in. */
  #left(session: LiveSession, envelope: Envelope): void {
    if ((envelope.flags & INSIDE) === 0) return;
    const next = session.border;
    if (next !== undefined) this.#moveIn(session, next);
  }

  #moveIn(session: LiveSession, next: Envelope): void {
    if ((next.flags & UNADMITTED) !== 0) {
      if (this.ledger.held >= this.settings.maxHeld) {
        this.#admissionsDue.add(session);
        this.watch();
        return;
      }
      this.#admitNow(next);
    }
    next.flags |= INSIDE;
    session.border = next.next;
    while (session.border !== undefined && (session.border.flags & MARK) !== 0) {
      session.border = session.border.next;
    }
  }

  #admitNow(envelope: Envelope): void {
    const sender = envelope.extra?.sender;
    if (envelope.extra !== undefined) envelope.extra.sender = undefined;
    envelope.flags &= ~UNADMITTED;
    this.#accept(envelope);
    sender?.resolve(undefined);
  }

  // Room.

  /** Whoever waits for something to leave the router has come or gone. */
  watch(): void {
    this.ledger.watched =
      this.feeds.size > 0 ||
      this.joiners.size > 0 ||
      this.watchers.size > 0 ||
      this.#admissionsDue.size > 0 ||
      this.#roomLine.size > 0;
  }

  readonly #released = (): void => {
    if (this.#admissionsDue.size > 0 || this.#roomLine.size > 0) {
      this.#relieve();
      // Who waits still may wait for what only the next one to come would set free.
      if (this.#roomLine.size > 0) this.unblock();
    }
    for (const feed of this.feeds) feed.roomMade();
    if (this.joiners.size > 0 && this.ledger.held === 0) {
      for (const join of this.joiners) join.resolve(undefined);
      this.joiners.clear();
    }
    this.changed();
    this.watch();
  };

  #relieve(): void {
    // Who is let in may make room himself, by an interruption: the next one is
    // let in after he has his place.
    if (this.#relieving !== "no") {
      this.#relieving = "again";
      return;
    }
    do {
      this.#relieving = "once";
      this.#letIn();
    } while ((this.#relieving as string) === "again");
    this.#relieving = "no";
  }

  #letIn(): void {
    for (const session of this.#admissionsDue) {
      if (this.ledger.held >= this.settings.maxHeld) return;
      this.#admissionsDue.delete(session);
      if (session.border !== undefined && session.status !== "gone")
        this.#moveIn(session, session.border);
    }
    for (const wait of this.#roomLine) {
      if (this.ledger.held >= this.settings.maxHeld) return;
      this.#roomLine.delete(wait);
      const envelope = wait.item as Envelope;
      const { key, time } = this.#keys.get(envelope) as { key: Key; time: number };
      if (this.eventTime !== undefined) {
        envelope.needExtra().sender = undefined;
        this.eventTime.hold(key, envelope, "", time);
        wait.resolve(undefined);
        continue;
      }
      const how = this.admit(key, envelope, "line");
      if (how === "waits") continue;
      envelope.needExtra().sender = undefined;
      if (how === "full") wait.reject(new InboxFullError(key, this.settings.inboxSize));
      else wait.resolve(undefined);
    }
  }

  /** Somebody watches: what it waits for may have come. */
  changed(): void {
    if (this.watchers.size > 0) for (const watcher of this.watchers) watcher();
  }

  join(options?: WaitOptions): Promise<void> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.ledger.held === 0) return accepted;
    const wait = suspend<void>(joinWait, this, scope, options);
    this.joiners.add(wait);
    this.watch();
    return wait.promise;
  }

  /** Nothing could ever move again unless something is forced: the room is full, or the sources have ended. */
  unblock(): void {
    this.eventTime?.unblock();
    this.forceEviction();
  }

  // Places.

  #placeFree(): boolean {
    return (
      this.live < this.settings.maxLive ||
      (this.settings.evict !== undefined &&
        this.#victim() !== undefined &&
        this.#starters.size === 0)
    );
  }

  #newSession(key: Key): LiveSession {
    const session = new LiveSession(key, this);
    this.sessions.set(key, session);
    this.#findPlace(session);
    return session;
  }

  #findPlace(session: LiveSession): void {
    if (this.live < this.settings.maxLive && this.#starters.size === 0) {
      this.#givePlace(session);
      return;
    }
    session.status = "waiting";
    this.#starters.add(session);
    this.seekPlaces();
  }

  #givePlace(session: LiveSession): void {
    session.bits |= PLACE;
    this.live++;
    if (this.live > this.peakLive) this.peakLive = this.live;
    session.status = "opening";
    session.startTime = this.time();
    if (session.border !== undefined) this.#moveAllIn(session);
    this.#ready.push(session);
    this.schedule();
  }

  /** Its line had no inbox to be in until now. */
  #moveAllIn(session: LiveSession): void {
    let room = this.settings.inboxSize - 1;
    for (const envelope of session) if ((envelope.flags & INSIDE) !== 0) room--;
    while (session.border !== undefined && room-- >= 0) {
      const next = session.border;
      this.#moveIn(session, next);
      if (session.border === next) break;
    }
  }

  leavePlace(session: LiveSession): void {
    if (!session.has(PLACE)) return;
    session.bits &= ~PLACE;
    this.live--;
    while (this.#starters.size > 0 && this.live < this.settings.maxLive) {
      const [first] = this.#starters;
      this.#starters.delete(first as LiveSession);
      if (first?.status === "waiting") this.#givePlace(first);
    }
  }

  #victim(): LiveSession | undefined {
    return this.idle.idlest(mayBeEvicted) as LiveSession | undefined;
  }

  #evict(): boolean {
    const victim = this.#victim();
    if (victim === undefined) return false;
    endSession(this, victim, "evicted");
    return true;
  }

  /**
   * When every place is taken by a session that has nothing to do and nothing
   * more can come for it, the idlest goes although nobody asked for eviction.
   */
  forceEviction(): void {
    if (this.#starters.size === 0 || this.settings.evict !== undefined) return;
    if (this.running > 0 || this.#ready.length > 0) return;
    const full = this.ledger.held >= this.settings.maxHeld;
    const feeds = [...this.feeds];
    const stuck = full || feeds.some((feed) => feed.isOver || feed.blocked);
    // Watermarks go on as long as something may come; else only the clock ends a session.
    const time = this.eventTime === undefined || (!full && feeds.some((feed) => !feed.isOver));
    if (!stuck || this.#anythingMoves(time)) return;
    if (this.#evict()) this.forced("eviction");
  }

  /** Somebody may have to give up its place for those that wait for one. */
  seekPlaces(): void {
    if (this.#starters.size === 0) return;
    if (this.settings.evict !== undefined) this.#evict();
    else this.forceEviction();
  }

  #anythingMoves(timeGoesOn: boolean): boolean {
    for (const session of this.sessions.values()) {
      // One without a place gives none back: it waits for one, or is overdue.
      if (!session.has(PLACE) || session.status === "parked") continue;
      if (session.status !== "quiet" || !isIdle(session)) return true;
      if (timeGoesOn && session.ownIdleMs < Infinity) return true;
    }
    return false;
  }

  /** Takes a record that never became a session out. */
  #forget(session: LiveSession): void {
    session.status = "gone";
    this.#starters.delete(session);
    if (this.sessions.get(session.key) === session) this.sessions.delete(session.key);
  }

  /** The session has gone: its line is the next one's. */
  passOn(session: LiveSession): void {
    const key = session.key;
    if (this.sessions.get(key) !== session) return;
    if (session.head === undefined) {
      this.sessions.delete(key);
      return;
    }
    const next = new LiveSession(key, this);
    session.moveTo(next);
    this.sessions.set(key, next);
    const extra = session.extra;
    // What follows on a partition that was handed over is not of it any more.
    if (extra?.feed !== undefined && session.endReason !== "moved")
      this.fed(key, extra.feed, extra.partition ?? "");
    if (this.judge(next)) this.#findPlace(next);
    else this.#forget(next);
  }

  /** Drops what may not start a session from the head of a line; false when nothing is left. */
  judge(session: LiveSession, resumed: boolean = this.saved.mayHave(session.key)): boolean {
    let envelope: Envelope | undefined;
    while ((envelope = session.head) !== undefined) {
      const mark = (envelope.flags & MARK) !== 0;
      const may =
        (envelope.flags & MAY_START) !== 0 || (resumed && (envelope.flags & BEHIND) === 0);
      if (!mark && may) return true;
      session.shift();
      if (mark) continue;
      if ((envelope.flags & UNADMITTED) !== 0) this.#admitNow(envelope);
      this.#left(session, envelope);
      this.tooLate(session.key, envelope);
    }
    return false;
  }

  // Quiet and idle.

  /** It has nothing more to do for now. */
  quiet(session: LiveSession): void {
    session.status = "quiet";
    if (this.state !== "open") {
      endSession(this, session, this.drainReason);
      return;
    }
    this.touched(session);
  }

  /** An activity of it has ended: its idle time begins anew. */
  touched(session: LiveSession): void {
    const { maxLive, time } = this.settings;
    if (session.status !== "quiet" || !isIdle(session)) return;
    if (
      session.ownIdleMs === Infinity
        ? maxLive === Infinity
        : time !== undefined && maxLive === Infinity
    )
      return;
    const at = this.time();
    this.#touched[this.#touchedCount++] = session;
    this.idle.touch(session, at);
    this.seekPlaces();
  }

  idleChanged(session: LiveSession): void {
    if (this.eventTime !== undefined) this.eventTime.uneven = true;
    if (session.idleSlot !== undefined) this.idle.remove(session);
    this.touched(session);
  }

  readonly #expire = (idler: Idler): void => {
    const session = idler as LiveSession;
    // One that is busy comes back to the list when it is quiet again.
    if (session.status === "quiet" && isIdle(session)) endSession(this, session, "idle");
  };

  // What sessions ask for.

  next(
    session: LiveSession,
  ): IteratorResult<unknown, undefined> | Promise<IteratorResult<unknown, undefined>> {
    return loopStyle.next(this, session);
  }

  taskOfCall(session: LiveSession): Task<unknown> | undefined {
    if (this.settings.style === "loop") return session.handler;
    return messageStyle.taskOfCall(this, session);
  }

  /** Makes the tasks of all calls in progress, for whoever lists tasks. */
  showTasks(): void {
    for (const session of this.sessions.values()) this.taskOfCall(session);
  }

  taskEnded(session: LiveSession, task: Task<unknown>): void {
    if (task === session.handler) {
      if (this.settings.style === "loop") handlerEnded(this, session, task);
    } else childEnded(this, session, task);
  }

  createChild<T>(session: LiveSession, make: () => Task<T>): Task<T> {
    if (session.status === "gone") {
      throw new InvalidStateError(
        `Cannot create a task in session ${show(session.key)}: it has ended`,
      );
    }
    return runInScope(this.scopeOf(session), make, undefined);
  }

  askEnd(session: LiveSession): void {
    if (session.endReason !== undefined || session.status === "gone") return;
    if (session.status === "quiet") endSession(this, session, "ended");
    else session.bits |= END_ASKED;
  }

  cancel(session: LiveSession, reason: unknown): boolean {
    if (
      session.endReason !== undefined ||
      session.status === "gone" ||
      session.status === "waiting"
    ) {
      return false;
    }
    endSession(this, session, "cancelled", undefined, reason);
    return true;
  }

  sendAfter(session: LiveSession, ms: number, message: unknown): () => void {
    if (typeof ms !== "number" || !(ms >= 0)) {
      throw new RangeError(`Cannot send after ${String(ms)} ms: ms must be >= 0`);
    }
    if (session.endReason !== undefined) {
      throw new InvalidStateError(`Cannot send to session ${show(session.key)}: it has ended`);
    }
    const key = this.settings.key === undefined ? session.key : this.keyOf(message, undefined);
    if (key !== session.key) {
      throw new InvalidMessageError(
        `Cannot send to session ${show(session.key)} after a time: the message's key is ${show(key)}`,
      );
    }
    const envelope = this.envelope(message);
    const { timers } = session.needExtra();
    const cancelTimer = this.settings.clock.wakeAfter(ms, () => {
      timers.delete(callOff);
      envelope.at = this.time();
      if (this.settings.interrupts !== undefined) this.#interrupt(session, envelope);
      if (this.sessions.get(session.key) !== session) {
        this.admit(session.key, envelope, "held");
        return;
      }
      const inside = session.border === undefined && session.length < this.settings.inboxSize;
      this.#put(session, envelope, inside);
    });
    const callOff = (): void => {
      timers.delete(callOff);
      cancelTimer();
    };
    timers.add(callOff);
    return callOff;
  }

  save(session: LiveSession, state: unknown): Promise<void> {
    return this.saved.save(session, state);
  }

  resume(key: Key): boolean {
    const session = this.sessions.get(key);
    if (session?.status !== "parked") return false;
    unpark(this, session);
    if (session.inHand !== undefined) {
      session.inHand.tries = 0;
      if (session.inHand.extra !== undefined) session.inHand.extra.history = undefined;
    }
    retryNow(this, session);
    return true;
  }

  /** A message of a parked key: it no longer counts against maxHeld, and no source waits for it. */
  parkMessage(envelope: Envelope): void {
    envelope.feed?.parked(envelope.partition);
    this.ledger.setHeld(envelope, false);
  }

  /** Ends the waits of every send that was not accepted. */
  refuseSenders(): void {
    for (const wait of this.#roomLine) {
      this.#roomLine.delete(wait);
      wait.reject(closed("send"));
    }
    for (const session of this.sessions.values()) {
      for (const envelope of [...session]) {
        const sender = envelope.extra?.sender;
        if ((envelope.flags & UNADMITTED) === 0) continue;
        session.remove(envelope);
        sender?.reject(closed("send"));
      }
      if (session.status === "waiting" && session.head === undefined) this.#forget(session);
    }
  }

  // What the rest of the router asks for.

  /** A mark in a key's line; of no meaning to a key that has none. */
  mark(key: Key, flag: number): void {
    const session = this.sessions.get(key);
    if (session === undefined) return;
    session.push(new Envelope(undefined, flag, this.time()), session.border === undefined);
    if (session.status === "quiet") this.wake(session);
  }

  /** A mark for every session that `feed` has fed. */
  markFed(feed: Feed, flag: number): void {
    for (const session of this.sessions.values()) {
      if (isFedBy(session, feed)) this.mark(session.key, flag);
    }
  }

  /** A message whose time has come. */
  goOn(key: Key, envelope: Envelope): void {
    const { feed } = envelope;
    this.admit(key, envelope, "held");
    if (feed?.ownsSessions === true) this.fed(key, feed, envelope.partition);
  }

  /** Remembers which source and partition a key's session is of. */
  fed(key: Key, feed: Feed, partition: string): void {
    const session = this.sessions.get(key);
    if (session === undefined) return;
    const extra = session.needExtra();
    extra.feed = feed;
    extra.partition = partition;
    extra.fence ??= feed.partitions.get(partition)?.fence;
  }

  /** How much all sources together have been asked for and have not delivered. */
  askedAhead(): number {
    let asked = 0;
    for (const feed of this.feeds) asked += feed.asked;
    return asked;
  }

  /** A message is handled: settled, or kept until its session is over (`ack: "session"`). */
  handled(session: LiveSession, envelope: Envelope, value: unknown): void {
    session.inHand = undefined;
    session.handledCount++;
    if (envelope.feed !== undefined && this.settings.ack === "session") {
      session.needExtra().unsettled.push(envelope);
      envelope.feed.kept(envelope.partition);
      this.ledger.handledUnsettled(envelope, value);
    } else if (envelope.feed !== undefined && session.extra?.saving !== undefined) {
      this.ledger.handledUnsettled(envelope, value);
      this.ledger.settleAfter(session.extra.saving, envelope);
    } else this.ledger.done(envelope, "handled", value, session.key);
    if ((envelope.flags & ENDS) !== 0) endSession(this, session, "ended");
  }

  /** Settles what a session kept until its end. */
  settleSession(session: LiveSession, reason: EndReason): void {
    const extra = session.needExtra();
    const back = reason === "moved" || reason === "drained";
    for (const envelope of extra.unsettled) {
      if (back) this.ledger.released++;
      envelope.feed?.unkept(envelope.partition);
      this.ledger.settle(envelope, back ? "release" : "done");
    }
    extra.unsettled = [];
  }

  /** It is to have its turn, whatever its status is. */
  queueAgain(session: LiveSession): void {
    this.#ready.push(session);
    this.schedule();
  }

  /** Accepts a message that was still waiting for room. */
  admitAll(session: LiveSession, envelope: Envelope): void {
    if ((envelope.flags & UNADMITTED) !== 0 && session.status !== "gone") this.#admitNow(envelope);
  }

  leavePermitUnlessRunning(session: LiveSession): void {
    if (session.handler === undefined) this.leavePermit(session);
  }

  /** Takes a record out that waits for a place and has nothing left to start with. */
  dropIfEmpty(session: LiveSession): void {
    if (session.status === "waiting" && session.head === undefined) this.#forget(session);
  }

  /** A session that ends, and takes its time over it, is told to stop. */
  hasten(session: LiveSession): void {
    hastenEnd(this, session);
  }

  markOverdue(session: LiveSession): void {
    ignored(this, session);
  }

  /** Something was done because nothing could have moved otherwise: counted, and warned of once. */
  forced(what: "eviction" | "watermark"): void {
    if (what === "eviction") this.ledger.forcedEvictions++;
    else this.ledger.forcedWatermarks++;
    if (this.#warned.has(what)) return;
    this.#warned.add(what);
    report(
      what === "eviction"
        ? `Every place is taken by a quiet session (maxLive ${this.settings.maxLive}) and nothing could move: the idlest was evicted`
        : `Messages held for lateness fill the router (maxHeld ${this.settings.maxHeld}): the watermark was moved on`,
    );
  }

  bury(envelope: Envelope, key: Key | undefined, reason: DeadLetterReason, error?: unknown): void {
    this.#accept(envelope);
    this.ledger.bury(envelope, key, reason, error);
  }

  end(session: LiveSession, reason: EndReason): void {
    endSession(this, session, reason);
  }
}

/** Whether anything of it is from `feed`; another source may have fed it since. */
function isFedBy(session: LiveSession, feed: Feed): boolean {
  const { extra, inHand } = session;
  if (extra === undefined) return false;
  if (extra.feed === feed || inHand?.feed === feed) return true;
  if (extra.unsettled.some((kept) => kept.feed === feed)) return true;
  for (const envelope of session) if (envelope.feed === feed) return true;
  return false;
}

/** It says the time, and wakes nobody. */
class SleepingClock implements Clock {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  wakeAfter(): () => void {
    return doNothing;
  }
}

function doNothing(): void {}

/** What somebody gave for a key, without running any code of it. */
function inWords(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (typeof value === "object") return Array.isArray(value) ? "an array" : "an object";
  return typeof value === "function" ? "a function" : `the ${typeof value} ${String(value)}`;
}

class NotAccepted extends Error {}

function closed(what: string): RouterClosedError {
  return new RouterClosedError(`Cannot ${what}: the router is draining or closed`);
}

function makePoint(scope: Scope): EnterPoint {
  enterScope(scope);
  return new EnterPoint();
}

function enterAndRun<A>(scope: Scope, work: (arg: A) => void, arg: A): void {
  enterScope(scope);
  work(arg);
}

function oldestOf(session: LiveSession): Envelope | undefined {
  for (const envelope of session) {
    if ((envelope.flags & (ENDS | MARK)) === 0 && (envelope.flags & HELD) !== 0) return envelope;
  }
  return undefined;
}

function isAsyncFunction(work: unknown): boolean {
  return typeof work === "function" && work.constructor.name === "AsyncFunction";
}

/** No queued message, no child, nothing kept alive. @internal */
export function isIdle(session: LiveSession): boolean {
  const extra = session.extra;
  return (
    session.head === undefined &&
    (extra === undefined || (extra.children.size === 0 && extra.keptAlive === 0))
  );
}

function mayBeEvicted(idler: Idler): boolean {
  const session = idler as LiveSession;
  return session.status === "quiet" && isIdle(session);
}
