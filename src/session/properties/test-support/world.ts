// Plays a program against a router on a virtual clock, and writes down what
// happens. What is wrong the moment it happens (two sessions of one key, two
// messages at once) is a breach at once; what can only be told at the end is
// in `laws.ts`.
import { subscribe } from "node:diagnostics_channel";
import { memorySource, type MemoryOutcome, type MemorySource } from "../../../doors/memory.ts";
import {
  CancelledError,
  type Clock,
  createTask,
  sleep,
  timeout,
  TimeoutError,
  type Task,
} from "../../../doors/heddle.ts";
import {
  InboxFullError,
  NotHandledError,
  RouterClosedError,
  SelfSendError,
  SessionRouter,
  type DeadLetter,
  type DrainReport,
  type EndReason,
  type Key,
  type Session,
  type SessionRouterOptions,
  type Source,
  type StateStore,
} from "../../../doors/session.ts";
import { launch, makeTask } from "../../../task/task.ts";
import { VirtualClock } from "../../../testing/virtual-clock.ts";
import { Dispatcher } from "../../dispatcher.ts";
import { AGAIN, isOver, type LiveSession } from "../../session.ts";
import {
  keys,
  type Act,
  type Manner,
  type MessagePlan,
  type Op,
  type Plan,
  type RouterPlan,
  type SourcePlan,
} from "./plan.ts";

/** Lets `count` rounds of microtasks pass. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await Promise.resolve();
}

/** One coming of a message: a send, or a delivery. */
export interface Arrival {
  /** Those of one way keep their order among each other, accepted or not */
  readonly way: string;
  readonly calledAt: number;
  acceptedAt: number;
  state: "asked" | "accepted" | "refused" | "unknown";
  entered: number;
  finished: number;
  active: number;
  readonly outcomes: string[];
  letter: DeadLetter | undefined;
  /** Its source and what it calls it */
  readonly feed: Feed | undefined;
  readonly attempt: number;
  readonly partition: string;
  /** Its partition was taken away, or is being so: no handler may have it any more */
  taken: boolean;
  lost: boolean;
}

export interface Message {
  readonly n: number;
  readonly key: string;
  readonly plan: MessagePlan;
  readonly arrivals: Arrival[];
}

/** What is going on for a key at this moment. */
interface Doing {
  readonly what: string;
  readonly key: Key;
  readonly session: Session | undefined;
}

/** A promise that the router gave, and what has become of it. */
export interface Given {
  readonly what: string;
  readonly by: number;
  state: "waiting" | "fulfilled" | "rejected";
  error: unknown;
}

export interface Feed {
  readonly plan: SourcePlan;
  readonly source: MemorySource<Message> | undefined;
  readonly given: Given;
  /** The strand whose task consumes it */
  readonly strand: number;
  ended: boolean;
  aborted: boolean;
}

class ScriptError extends Error {}

// Each dispatcher by its clock: the world looks inside when all is over.
const dispatchers = new WeakMap<object, Dispatcher>();
const { time } = Dispatcher.prototype;
Dispatcher.prototype.time = function (this: Dispatcher) {
  dispatchers.set(this.settings.clock, this);
  return time.call(this);
};

let playing: World | undefined;
function nowPlaying(world: World | undefined): void {
  playing = world;
}
subscribe("heddle:problem", (problem) => {
  playing?.reported(problem as { readonly text: string; readonly error: unknown });
});
process.on("warning", (warning) => {
  if (warning.name === "HeddleSourceWarning") playing?.breach(`guard: ${warning.message}`);
});

const graceless: readonly RegExp[] = [
  /ended threw|stopped threw/,
  /deadLetter threw/,
  /has failed/,
  /the idlest was evicted/,
  /the watermark was moved on/,
];

/** The clock as the router has it: its own wake-ups are counted apart from the program's. */
class CountedClock implements Clock {
  readonly #clock: VirtualClock;
  readonly #pending = new Set<object>();

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  get pending(): number {
    return this.#pending.size;
  }

  now(): number {
    return this.#clock.now();
  }

  wakeAfter(delayMs: number, wake: () => void): () => void {
    if (delayMs === Infinity) return () => {};
    const entry = {};
    this.#pending.add(entry);
    const callOff = this.#clock.wakeAfter(delayMs, () => {
      this.#pending.delete(entry);
      wake();
    });
    return () => {
      this.#pending.delete(entry);
      callOff();
    };
  }
}

export class World {
  readonly plan: Plan;
  readonly options: RouterPlan;
  readonly clock: VirtualClock = new VirtualClock();
  readonly routerClock: CountedClock = new CountedClock(this.clock);
  readonly router: SessionRouter<Message, string, unknown, number>;
  readonly breaches: string[] = [];
  readonly log: string[] = [];
  readonly messages: Message[] = [];
  readonly given: Given[] = [];
  readonly feeds: Feed[] = [];
  /** First entries of arrivals, by key, in order */
  readonly entries: Map<Key, Arrival[]> = new Map();
  readonly letters: Set<DeadLetter> = new Set();
  readonly callbacks: { readonly key: Key; readonly reason: EndReason; readonly which: string }[] =
    [];
  readonly sessions: Map<Key, Session[]> = new Map();
  readonly startedTimes: Map<number, number> = new Map();
  drained:
    | {
        readonly promise: Promise<DrainReport>;
        readonly calledAt: number;
        readonly atMs: number;
        readonly deadlineMs: number;
        report: DrainReport | undefined;
        doneMs: number;
        /** Wake-ups of the router's when it returned */
        pending: number;
        /** Keys at work when it returned */
        busy: ReadonlySet<Key>;
      }
    | undefined = undefined;

  readonly #doing = new Set<Doing>();
  readonly #lastEnd = new Map<Key, number>();
  readonly #aborts: { readonly controller: AbortController; readonly feed: Feed | undefined }[] =
    [];
  readonly #strands: Task<void>[] = [];
  readonly #letterFailures = new Map<unknown, number>();
  readonly #failures = new Map<string, number>();
  readonly #last = new Map<Key, Arrival>();
  #sequence = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.options = plan.router;
    nowPlaying(this);
    this.router = new SessionRouter<Message, string, unknown, number>(this.#routerOptions());
  }

  get dispatcher(): Dispatcher | undefined {
    return dispatchers.get(this.routerClock);
  }

  breach(text: string): void {
    if (this.breaches.length < 20) this.breaches.push(`${text} (at ${this.clock.now()} ms)`);
  }

  note(text: string): void {
    if (this.log.length < 2_000) this.log.push(`${this.clock.now()}: ${text}`);
  }

  reported(problem: { readonly text: string; readonly error: unknown }): void {
    const { text } = problem;
    this.note(`reported: ${text}`);
    const accused = /of session ("[^"]*") ignores its cancellation/.exec(text)?.[1];
    if (accused !== undefined) {
      const key = JSON.parse(accused) as string;
      if (!this.busyKeys().has(key)) this.breach(`falsely accused: ${text}`);
      return;
    }
    if (String(problem.error).endsWith("was lost") && this.#settledInTime(text)) return;
    if (!graceless.some((known) => known.test(text)))
      this.breach(`reported: ${text} ${String(problem.error ?? "")}`);
  }

  /** Whether what could not be settled was under way when its partition was lost. */
  #settledInTime(text: string): boolean {
    return text.startsWith("Cannot settle delivery") && this.feeds.some(lostWhileSettling);
  }

  // Playing.

  /** Plays the strands until nothing moves any more. */
  async play(): Promise<void> {
    nowPlaying(this);
    for (const [number, ops] of this.plan.strands.entries()) {
      const work = (): Promise<void> => this.#strand(ops, number);
      const task = makeTask(work, { name: `strand ${number}` }, this.clock);
      this.#strands.push(task);
      task.watch({ taskEnded: () => {} });
      launch(task, work, false);
    }
    await this.clock.settle();
    await this.toEnd();
  }

  async toEnd(): Promise<void> {
    nowPlaying(this);
    for (let n = 0; n < 3_000; n++) if (!(await this.clock.next())) return;
    this.breach("it never comes to rest");
  }

  /** Drains, if nobody has, and plays on until nothing moves any more. */
  async finish(): Promise<void> {
    nowPlaying(this);
    this.drain(this.plan.deadlineMs);
    await this.clock.settle();
    await this.toEnd();
    for (const strand of this.#strands) strand.cancel("the play is over");
    await this.clock.settle();
    for (const letter of this.router.letters()) this.letters.add(letter as DeadLetter);
    nowPlaying(undefined);
  }

  drain(deadlineMs: number): void {
    if (this.drained !== undefined) {
      if (this.router.drain({ deadlineMs: 1 }) !== this.drained.promise)
        this.breach("a second drain gave another promise");
      return;
    }
    this.note(`drain(${deadlineMs})`);
    for (const feed of this.feeds) {
      if (feed.plan.kind === "partitions" && !feed.ended) this.#take(feed, undefined, false);
    }
    const drained = {
      promise: this.router.drain({ deadlineMs }),
      calledAt: ++this.#sequence,
      atMs: this.clock.now(),
      deadlineMs,
      report: undefined as DrainReport | undefined,
      doneMs: Infinity,
      pending: 0,
      busy: new Set<Key>() as ReadonlySet<Key>,
    };
    this.drained = drained;
    this.track("drain", drained.promise, undefined).then(
      (report) => {
        drained.report = report as DrainReport;
        drained.doneMs = this.clock.now();
        // A source that takes longer to settle than it may is not waited for.
        const open = this.dispatcher?.feeds.size ?? 0;
        drained.pending = open > 0 ? 0 : this.routerClock.pending;
        drained.busy = this.busyKeys();
        this.note(`drained: ${JSON.stringify(report)}`);
      },
      (error: unknown) => this.breach(`drain rejected with ${String(error)}`),
    );
  }

  /** Keys for which something of the user's runs, or ended in this very instant. */
  busyKeys(): Set<Key> {
    return new Set([...this.#doing].map(({ key }) => key));
  }

  endedNow(key: Key, atMs: number): boolean {
    return this.#lastEnd.get(key) === atMs;
  }

  get stillDoing(): readonly Doing[] {
    return [...this.#doing];
  }

  track<T>(what: string, promise: Promise<T>, arrival: Arrival | undefined): Promise<T> {
    const given: Given = {
      what,
      by: ++this.#sequence,
      state: "waiting",
      error: undefined,
    };
    this.given.push(given);
    promise.then(
      () => {
        given.state = "fulfilled";
        if (arrival !== undefined) this.#accepted(arrival);
      },
      (error: unknown) => {
        given.state = "rejected";
        given.error = error;
        if (arrival !== undefined) this.#refused(what, arrival, error);
      },
    );
    return promise;
  }

  // Strands.

  async #strand(ops: readonly Op[], number: number): Promise<void> {
    for (const op of ops) {
      await turns(op.turns);
      if (op.ms > 0) await sleep(op.ms);
      this.note(`strand ${number}: ${op.op}`);
      const done = this.#perform(op, number);
      if (done !== undefined) await done.then(undefined, rethrowCancelled);
    }
  }

  #perform(op: Op, strand: number): Promise<unknown> | undefined {
    const { router } = this;
    switch (op.op) {
      case "send":
      case "trySend":
      case "call": {
        const sent = this.send(op.op, this.message(op.message), "op");
        return op.awaited ? sent : undefined;
      }
      case "consume":
        this.consume(op.source, strand);
        return undefined;
      case "abort": {
        const abort = this.#aborts[op.which % Math.max(1, this.#aborts.length)];
        if (abort === undefined) return undefined;
        if (abort.feed !== undefined) {
          abort.feed.aborted = true;
          if (abort.feed.plan.kind === "partitions" && !abort.feed.ended)
            this.#take(abort.feed, undefined, false);
        }
        abort.controller.abort(new CancelledError("aborted by the program"));
        return undefined;
      }
      case "cancelStrand":
        this.#cancelStrand(op.which);
        return undefined;
      case "cancel":
        router.cancel(keys[op.key] as string, "the program says so");
        return undefined;
      case "sessionCancel":
        router.session(keys[op.key] as string)?.cancel();
        return undefined;
      case "end":
        router.session(keys[op.key] as string)?.end();
        return undefined;
      case "resume":
        router.resume(keys[op.key] as string);
        return undefined;
      case "why":
        router.why(keys[op.key] as string);
        return undefined;
      case "statistics":
        router.statistics();
        return undefined;
      case "replay":
        this.#replay(op.which);
        return undefined;
      case "revoke":
        this.#revoke(op.which, op.reason);
        return undefined;
      case "redeliver":
        // An engine does not give a partition again while it takes it away.
        if (this.given.some((each) => each.state === "waiting" && each.what.startsWith("revoke")))
          return undefined;
        for (const { source, ended, given } of this.feeds)
          if (source !== undefined && !ended && given.state === "waiting") source.redeliver();
        return undefined;
      case "endSources":
        for (const { source } of this.feeds) source?.end();
        return undefined;
      case "join":
        void this.track("join", router.join(), undefined).catch(() => {});
        return undefined;
      case "drain":
        this.drain(op.deadlineMs);
        return undefined;
      default:
        return sleep(5);
    }
  }

  #cancelStrand(which: number): void {
    const number = which % this.#strands.length;
    const strand = this.#strands[number];
    if (strand === undefined || strand.done()) return;
    // What it consumes ends with it.
    for (const feed of this.feeds) {
      if (feed.strand !== number) continue;
      feed.aborted = true;
      if (feed.plan.kind === "partitions" && !feed.ended) this.#take(feed, undefined, false);
    }
    strand.cancel("the program says so");
  }

  // Sending.

  message(plan: MessagePlan): Message {
    const key = keys[plan.key] as string;
    const message: Message = { n: this.messages.length, key, plan, arrivals: [] };
    this.messages.push(message);
    return message;
  }

  #arrive(message: Message, way: string, feed?: Feed, attempt = 0, partition = ""): Arrival {
    const arrival: Arrival = {
      way,
      calledAt: ++this.#sequence,
      acceptedAt: Infinity,
      state: "asked",
      entered: 0,
      finished: 0,
      active: 0,
      outcomes: [],
      letter: undefined,
      feed,
      attempt,
      partition,
      taken: false,
      lost: false,
    };
    message.arrivals.push(arrival);
    return arrival;
  }

  send(how: "send" | "trySend" | "call", message: Message, way: string): Promise<unknown> {
    const arrival = this.#arrive(message, way);
    this.note(`${how} ${message.n} to ${message.key}`);
    if (how === "trySend") {
      const sent = this.router.trySend(message);
      arrival.state = sent ? "accepted" : "refused";
      if (sent) {
        arrival.acceptedAt = ++this.#sequence;
        if (this.drained !== undefined) this.breach("trySend gave true after drain");
      } else this.note(`refused ${message.n}`);
      return Promise.resolve(sent);
    }
    const controller = new AbortController();
    this.#aborts.push({ controller, feed: undefined });
    const sent: Promise<unknown> = this.router[how](message, { signal: controller.signal });
    this.track(how, sent, arrival).catch(() => {});
    return sent;
  }

  #accepted(arrival: Arrival): void {
    arrival.acceptedAt = ++this.#sequence;
    arrival.state = "accepted";
    if (this.drained !== undefined && arrival.calledAt > this.drained.calledAt)
      this.breach("a send was accepted after drain");
  }

  #refused(how: string, arrival: Arrival, error: unknown): void {
    const late = this.drained !== undefined && arrival.calledAt > this.drained.calledAt;
    const cancelled = error instanceof CancelledError;
    if (late && !(error instanceof RouterClosedError) && !cancelled)
      this.breach(`${how} after drain rejected with ${String(error)}`);
    if (this.drained === undefined && error instanceof RouterClosedError)
      this.breach(`${how} rejected with ${String(error)} without a drain`);
    // With event time there is always room at first, and perhaps none when its time has come.
    const full = error instanceof InboxFullError;
    const fullLater = full && how === "call" && this.options.latenessMs !== undefined;
    if (
      error instanceof RouterClosedError ||
      (full && !fullLater) ||
      error instanceof SelfSendError
    ) {
      arrival.state = "refused";
    } else if (how !== "call") {
      arrival.state = "refused";
      if (!cancelled) this.breach(`${how} rejected with ${String(error)}`);
    } else if (fullLater || error instanceof NotHandledError || error instanceof ScriptError) {
      arrival.state = "accepted";
      arrival.acceptedAt = ++this.#sequence;
    } else {
      arrival.state = "unknown";
      if (!cancelled) this.breach(`${how} rejected with ${String(error)}`);
    }
  }

  #replay(which: number): void {
    const letters = this.router.letters();
    const letter = letters[which % Math.max(1, letters.length)];
    if (letter === undefined) return;
    this.letters.add(letter as DeadLetter);
    this.#assign(letter as DeadLetter);
    const arrival = this.#arrive(letter.message, "op");
    this.track("replay", this.router.replay(letter), arrival).catch(() => {});
  }

  // Consuming.

  consume(plan: SourcePlan, strand: number): void {
    const messages = plan.messages.map((each) => this.message(each));
    const controller = new AbortController();
    const number = this.feeds.length;
    const source = this.#source(plan, messages);
    const given: Given = {
      what: `consume ${number}`,
      by: ++this.#sequence,
      state: "waiting",
      error: undefined,
    };
    const feed: Feed = { plan, source, given, strand, ended: false, aborted: false };
    this.feeds.push(feed);
    this.given.push(given);
    this.#aborts.push({ controller, feed });
    const input =
      source === undefined
        ? this.#iterable(plan, messages, feed)
        : this.#watched(source, plan, feed);
    this.router.consume(input, { signal: controller.signal }).then(
      () => {
        given.state = "fulfilled";
        this.note(`consumed ${number}`);
      },
      (error: unknown) => {
        given.state = "rejected";
        given.error = error;
        this.note(`consume ${number} rejected: ${String(error)}`);
        const drained = this.drained !== undefined && error instanceof RouterClosedError;
        if (!drained && !(error instanceof CancelledError) && !(error instanceof ScriptError))
          this.breach(`consume rejected with ${String(error)}`);
      },
    );
  }

  #source(plan: SourcePlan, messages: Message[]): MemorySource<Message> | undefined {
    if (plan.kind !== "memory" && plan.kind !== "partitions") return undefined;
    return memorySource(messages, {
      keepOpen: plan.keepOpen,
      settling: (outcome) => this.#settling(outcome, plan),
      ...(plan.kind === "partitions"
        ? {
            key: (message: Message) => message.key,
            // Two keys a partition.
            partitions: (message: Message) => String(keys.indexOf(message.key as "a") >> 1),
            credit: plan.byPartition ? ("partition" as const) : ("source" as const),
          }
        : {}),
    });
  }

  *#items(plan: SourcePlan, messages: Message[], feed: Feed): Generator<Message> {
    for (const message of messages) {
      this.#deliver(message, feed, 1, "");
      yield message;
    }
    if (plan.fails) throw new ScriptError("the source broke");
  }

  #iterable(
    plan: SourcePlan,
    messages: Message[],
    feed: Feed,
  ): Iterable<Message> | AsyncIterable<Message> {
    if (plan.kind === "array") return this.#items(plan, messages, feed);
    const { clock } = this;
    const sequence = (): number => ++this.#sequence;
    const items = this.#items(plan, messages, feed);
    return (async function* () {
      for (const message of items) {
        // It is on its way from here on, and has arrived when the next one is asked for.
        const arrival = message.arrivals.at(-1) as Arrival;
        arrival.acceptedAt = Infinity;
        yield message;
        arrival.acceptedAt = sequence();
        await turns(plan.gapTurns);
        if (plan.gapMs > 0) await later(clock, plan.gapMs);
      }
    })();
  }

  #deliver(message: Message, feed: Feed, attempt: number, partition: string): void {
    this.note(`delivered ${message.n} of ${message.key} #${attempt}`);
    const way = `feed ${this.feeds.indexOf(feed)}`;
    const arrival = this.#arrive(message, way, feed, attempt, partition);
    arrival.state = "accepted";
    arrival.acceptedAt = ++this.#sequence;
    if (feed.plan.kind !== "partitions" || feed.ended) return;
    if (this.drained !== undefined || feed.aborted) arrival.taken = true;
  }

  #watched(source: MemorySource<Message>, plan: SourcePlan, feed: Feed): Source<Message> {
    return {
      name: source.name,
      capabilities: source.capabilities,
      open: (host) => {
        const connect = (): ReturnType<typeof source.open> =>
          source.open({
            assigned: (partition) => host.assigned(partition),
            revoked: (partition, reason) => host.revoked(partition, reason),
            deliver: (delivery) => {
              this.#deliver(delivery.message, feed, delivery.attempt, delivery.partition);
              host.deliver(delivery);
            },
            aborted: (delivery) => host.aborted?.(delivery),
            ended: () => {
              feed.ended = true;
              host.ended();
            },
            failed: (error) => host.failed(error),
          });
        if (!plan.slowOpen) return connect();
        return later(this.clock, 3).then(connect);
      },
    };
  }

  #settling(outcome: MemoryOutcome<Message>, plan: SourcePlan): void | Promise<void> {
    const { message, attempt } = outcome;
    this.note(`settled ${message.n} #${attempt} as ${outcome.outcome}`);
    const arrival = message.arrivals.find(
      (each) => each.feed !== undefined && each.attempt === attempt,
    );
    if (arrival === undefined) {
      this.breach(`message ${message.n} was settled and never delivered`);
      return undefined;
    }
    arrival.outcomes.push(outcome.outcome);
    if (outcome.letter !== undefined) this.letters.add(outcome.letter);
    // What is interrupted is done with, whatever its handler goes on to do.
    if (outcome.outcome === "done" && arrival.active > 0 && !this.options.interrupts)
      this.breach(`message ${message.n} was settled as done while its handler ran`);
    if (arrival.outcomes.length > 1) this.breach(`message ${message.n} was settled twice`);
    if (arrival.lost) this.breach(`message ${message.n} was settled after its partition was lost`);
    return plan.settleMs > 0 ? later(this.clock, plan.settleMs) : undefined;
  }

  #revoke(which: number, reason: "rebalanced" | "lost" | "released"): void {
    const places: { readonly feed: Feed; readonly partition: string }[] = [];
    for (const feed of this.feeds) {
      if (feed.plan.kind !== "partitions" || feed.given.state !== "waiting") continue;
      for (const partition of ["0", "1"]) places.push({ feed, partition });
    }
    const place = places[which % Math.max(1, places.length)];
    if (place?.feed.source === undefined) return;
    const { feed, partition } = place;
    const { errors } = place.feed.source;
    const before = errors.length;
    const revoking = place.feed.source.revoke(partition, reason);
    if (errors.length > before) {
      // It was not assigned: the program's mistake, not the router's.
      (errors as Error[]).pop();
      revoking.catch(() => {});
      return;
    }
    this.note(`revoke ${partition}: ${reason}`);
    this.#take(feed, partition, reason === "lost");
    const given: Given = {
      what: `revoke ${partition}`,
      by: ++this.#sequence,
      state: "waiting",
      error: undefined,
    };
    this.given.push(given);
    revoking.then(
      () => {
        given.state = "fulfilled";
        this.note(`revoked ${partition}`);
      },
      (error: unknown) => {
        given.state = "rejected";
        this.breach(`revoke rejected with ${String(error)}`);
      },
    );
  }

  /** From now on no handler may be given a message of it. */
  #take(feed: Feed, partition: string | undefined, lost: boolean): void {
    for (const message of this.messages) {
      const { key } = message;
      for (const arrival of message.arrivals) {
        if (arrival.feed !== feed || arrival.outcomes.length > 0) continue;
        if (partition !== undefined && arrival.partition !== partition) continue;
        // What a handler has been given already it may finish.
        const given = this.dispatcher?.sessions.get(key);
        arrival.taken = given?.inHand?.message !== message || given.has(AGAIN);
        if (lost) arrival.lost = true;
      }
    }
  }

  // What the user's code does.

  #routerOptions(): SessionRouterOptions<Message, string, unknown, number> {
    const { options } = this;
    const { inboxSize, overflow, maxHeld, maxLive, maxRunning, late, idleMs, attempts } = options;
    const { onExhausted, graceMs, retryMs, latenessMs } = options;
    const loop = options.style !== "message";
    const acked = options.ack === "session" && (options.ends || idleMs < Infinity);
    const common = {
      key: (message: Message) => message.key,
      inboxSize,
      overflow,
      maxHeld,
      maxLive,
      maxRunning,
      late,
      idleMs,
      attempts,
      onExhausted,
      graceMs,
      clock: this.routerClock,
      retryDelayMs: () => retryMs,
      evict: options.evict ? ("idlest" as const) : undefined,
      starts: options.starts ? (message: Message) => message.plan.kind === "start" : undefined,
      ends: options.ends ? (message: Message) => message.plan.kind === "end" : undefined,
      duplicateStart: options.starts ? options.duplicateStart : undefined,
      ...(latenessMs === undefined
        ? {}
        : { latenessMs, time: (message: Message) => message.plan.time }),
      ack: acked ? ("session" as const) : undefined,
      ended: this.#callback("ended", options.ended),
      stopped: this.#callback("stopped", options.stopped),
      state: this.#state(options.state),
      output: this.#output(options.output),
      deadLetter: this.#deadLetter(options.deadLetter),
      store: this.#store(options.store),
    };
    if (loop) return { ...common, session: (session) => this.#loop(session) };
    const handle = (message: Message, session: Session<Message, string>): undefined =>
      this.#handle(message, session) as undefined;
    return {
      ...common,
      message: options.declaredAsync
        ? async (message, session) => handle(message, session)
        : handle,
      interrupts: options.interrupts ? (message: Message) => message.plan.urgent : undefined,
    };
  }

  /** Something of the user's begins for a key; the function that is returned ends it. */
  begin(what: string, key: Key, session: Session | undefined): () => void {
    for (const other of this.#doing) {
      if (other.key !== key) continue;
      if (session !== undefined && other.session !== undefined && other.session !== session)
        this.breach(`${what} of ${key} began while ${other.what} of another session ran`);
      if (session === undefined && (what === "state" || what === "load"))
        this.breach(`${what} of ${key} began while ${other.what} ran`);
      if (what === "message" && other.what === "message")
        this.breach(`two messages of ${key} are handled at once`);
      if (
        (what === "ended" || what === "stopped") &&
        other.session === session &&
        other.what !== "store"
      )
        this.breach(`${what} of ${key} was called while ${other.what} ran`);
    }
    if (session !== undefined) this.#sight(what, key, session);
    const doing: Doing = { what, key, session };
    this.#doing.add(doing);
    this.note(`${what} of ${key} begins`);
    return () => {
      if (!this.#doing.delete(doing)) return;
      this.#lastEnd.set(key, this.clock.now());
      this.note(`${what} of ${key} ends`);
    };
  }

  #sight(what: string, key: Key, session: Session): void {
    if ((session as unknown as LiveSession).status === "gone")
      this.breach(`${what} of ${key}: its session is gone`);
    let seen = this.sessions.get(key);
    if (seen === undefined) this.sessions.set(key, (seen = []));
    if (seen.at(-1) === session) return;
    if (seen.includes(session))
      this.breach(`${what} of ${key}: its next session has begun already`);
    else seen.push(session);
  }

  #enter(message: Message, session: Session): { arrival: Arrival; leave: () => void } {
    const { key } = message;
    const leave = this.begin("message", key, session);
    const arrival = message.arrivals.at(-1) as Arrival;
    this.note(`handler has ${message.n}`);
    if (session.key !== key) this.breach(`message ${message.n} came to session ${session.key}`);
    if (arrival.state === "refused") this.breach(`message ${message.n} was refused and handled`);
    if (arrival.outcomes.length > 0) this.breach(`message ${message.n} was settled and handled`);
    if (arrival.letter !== undefined || this.#posted(message, arrival))
      this.breach(`message ${message.n} was dead-lettered and handled`);
    if (arrival.taken)
      this.breach(`message ${message.n} was handled after its partition was taken`);
    if (this.drained?.report !== undefined)
      this.breach(`message ${message.n} was handled after drain had returned`);
    let entries = this.entries.get(key);
    if (entries === undefined) this.entries.set(key, (entries = []));
    if (arrival.entered === 0) {
      entries.push(arrival);
      this.startedTimes.set(message.n, this.clock.now());
    } else if (this.#last.get(key) !== arrival)
      this.breach(`message ${message.n} was tried again after a later one`);
    this.#last.set(key, arrival);
    arrival.entered++;
    arrival.active++;
    return {
      arrival,
      leave: () => {
        arrival.active--;
        leave();
      },
    };
  }

  #posted(message: Message, arrival: Arrival): boolean {
    for (const letter of this.letters) {
      if (letter.message !== message) continue;
      if (letter.delivery === undefined) {
        if (message.arrivals.length === 1) return true;
      } else if (arrival.feed !== undefined && letter.delivery.attempt === arrival.attempt)
        return true;
    }
    return false;
  }

  #handle(message: Message, session: Session<Message, string>): unknown {
    const { script } = message.plan;
    const { arrival, leave } = this.#enter(message, session as Session);
    const plain =
      script.sync && script.acts.every((act) => act.do !== "send" || act.awaited === false);
    if (!plain) return this.#handleSlowly(message, session, arrival, leave);
    try {
      for (const act of script.acts) void this.#act(act, session);
      if (arrival.entered <= script.failures) throw new ScriptError(`message ${message.n}`);
      arrival.finished++;
      return this.options.output.kind === "none" ? undefined : message.n;
    } finally {
      leave();
    }
  }

  async #handleSlowly(
    message: Message,
    session: Session<Message, string>,
    arrival: Arrival,
    leave: () => void,
  ): Promise<number | undefined> {
    try {
      await this.#work(message, session, arrival);
      return this.options.output.kind === "none" ? undefined : message.n;
    } finally {
      leave();
    }
  }

  /** True when the loop is to be left. */
  async #work(
    message: Message,
    session: Session<Message, string>,
    arrival: Arrival,
  ): Promise<boolean> {
    const { script } = message.plan;
    let left = false;
    for (const act of script.acts) {
      if (act.do === "leave") left = true;
      const done = this.#act(act, session);
      if (done !== undefined) await done.then(undefined, rethrowCancelled);
    }
    await turns(script.turns);
    try {
      if (script.ms > 0) await (script.deaf ? later(this.clock, script.ms) : sleep(script.ms));
    } catch (error) {
      if (script.stubbornMs > 0) await this.#stubborn(script.stubbornMs);
      if (!script.denies) throw error;
    }
    if (arrival.entered <= script.failures) throw new ScriptError(`message ${message.n}`);
    arrival.finished++;
    return left;
  }

  async #stubborn(ms: number): Promise<void> {
    const until = this.clock.now() + ms;
    for (let n = 0; n < 50 && this.clock.now() < until; n++) {
      try {
        await sleep(until - this.clock.now());
      } catch {
        // It will not be told.
      }
    }
  }

  async #loop(session: Session<Message, string>): Promise<number | undefined> {
    const end = this.begin("loop", session.key, session as Session);
    const { style, afterLoopMs, cleanupMs, afterLoopThrows, output } = this.options;
    try {
      const left = await (style === "iterate" ? this.#iterate(session) : this.#receive(session));
      const reason = session.endReason;
      if (!left && (reason === undefined || !isOver(reason)))
        this.breach(`the loop of ${session.key} ended, and its session is ${String(reason)}`);
      if (afterLoopMs > 0) await sleep(afterLoopMs);
      if (afterLoopThrows) throw new ScriptError("after the loop");
      return output.kind === "none" ? undefined : 1;
    } finally {
      try {
        if (cleanupMs > 0) await sleep(cleanupMs);
      } finally {
        end();
      }
    }
  }

  async #iterate(session: Session<Message, string>): Promise<boolean> {
    for await (const message of session) {
      const { arrival, leave } = this.#enter(message, session as Session);
      let left: boolean;
      try {
        left = await this.#work(message, session, arrival);
      } finally {
        leave();
      }
      if (left) return true;
    }
    return false;
  }

  async #receive(session: Session<Message, string>): Promise<boolean> {
    let patience = 4;
    for (;;) {
      let message: Message | undefined;
      try {
        message =
          this.options.style === "receive"
            ? await session.receive()
            : await timeout(3, () => session.receive());
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error;
        if (--patience === 0) return true;
        continue;
      }
      if (message === undefined) return false;
      const { arrival, leave } = this.#enter(message, session as Session);
      let left: boolean;
      try {
        left = await this.#work(message, session, arrival);
      } finally {
        leave();
      }
      if (left) return true;
    }
  }

  #act(act: Act, session: Session<Message, string>): Promise<unknown> | undefined {
    switch (act.do) {
      case "send": {
        const message = this.message(act.message);
        const sent = this.send(act.how, message, "handler");
        // Nothing in a ring: whoever waits for room in another key's inbox
        // while holding what that key needs has himself to blame.
        const { maxRunning, maxLive } = this.options;
        const safe = maxRunning === Infinity && maxLive === Infinity && message.key > session.key;
        return act.awaited && safe ? sent : undefined;
      }
      case "child":
        this.#child(act, session);
        return undefined;
      case "strand":
        sleep(act.ms + 1).then(
          () => this.begin("strand", session.key, session as Session)(),
          () => {},
        );
        return undefined;
      case "keepAlive":
        void session.keepAlive(later(this.clock, act.ms));
        return undefined;
      case "sendAfter":
        this.#sendAfter(act, session);
        return undefined;
      case "idleMs":
        session.idleMs = act.ms;
        return undefined;
      case "end":
        session.end();
        return undefined;
      case "cancel":
        session.cancel("by itself");
        return undefined;
      case "cancelTask":
        session.task?.cancel("by itself");
        return undefined;
      case "save":
        return session.save({ n: 1 });
      case "cancelKey":
        this.router.cancel(keys[act.key] as string);
        return undefined;
      case "resume":
        this.router.resume(keys[act.key] as string);
        return undefined;
      case "drain":
        this.drain(act.deadlineMs);
        return undefined;
      case "look":
        void session.signal.aborted;
        void session.delivery;
        return undefined;
      default:
        return undefined;
    }
  }

  #child(act: Act & { do: "child" }, session: Session<Message, string>): void {
    const work = async (): Promise<void> => {
      const end = this.begin("child", session.key, session as Session);
      try {
        await sleep(act.ms);
      } catch (error) {
        await this.#stubborn(act.stubbornMs);
        throw error;
      } finally {
        end();
      }
      if (act.fails) throw new ScriptError("a child");
    };
    if (act.bare) createTask(work);
    else session.createTask(work);
  }

  #sendAfter(act: Act & { do: "sendAfter" }, session: Session<Message, string>): void {
    if (session.endReason !== undefined) return;
    const message = this.message({ ...act.message, key: keys.indexOf(session.key as "a") });
    const arrival = this.#arrive(message, `after ${message.n}`);
    arrival.state = "unknown";
    const callOff = session.sendAfter(act.ms, message);
    if (act.calledOff) {
      callOff();
      arrival.state = "refused";
    }
  }

  /** Waits as `manner` says, and throws as often as it says. */
  #behave(manner: Manner, name: string): Promise<void> | undefined {
    const count = (this.#failures.get(name) ?? 0) + 1;
    this.#failures.set(name, count);
    const fail = (): void => {
      if (count <= manner.failures) throw new ScriptError(name);
    };
    if (manner.kind === "sync") {
      fail();
      return undefined;
    }
    return (async () => {
      if (manner.kind === "turns") await turns(manner.turns);
      else if (manner.kind === "deaf") await later(this.clock, manner.ms);
      else await sleep(manner.ms);
      fail();
    })();
  }

  #during(manner: Manner, name: string, end: () => void): unknown {
    try {
      const waiting = this.#behave(manner, name);
      if (waiting === undefined) {
        end();
        return undefined;
      }
      return waiting.finally(end);
    } catch (error) {
      end();
      throw error;
    }
  }

  #callback(
    which: "ended" | "stopped",
    manner: Manner,
  ): ((session: Session<Message, string>, reason: EndReason) => unknown) | undefined {
    if (manner.kind === "none") return undefined;
    return (session, reason) => {
      const fits = isOver(reason) || reason === "failed" ? "ended" : "stopped";
      if (fits !== which) this.breach(`${which} was called with reason ${reason}`);
      if (session.endReason !== reason) this.breach(`${which}: endReason differs from ${reason}`);
      this.callbacks.push({ key: session.key, reason, which });
      const end = this.begin(which, session.key, session as Session);
      return this.#during(manner, `${which} of ${session.key}`, end);
    };
  }

  #state(manner: Manner): ((key: string, saved: unknown) => unknown) | undefined {
    if (manner.kind === "none") return undefined;
    return (key) => this.#during(manner, `state of ${key}`, this.begin("state", key, undefined));
  }

  #output(
    manner: Manner,
  ): ((value: number, session: Session<Message, string>) => unknown) | undefined {
    if (manner.kind === "none") return undefined;
    return (_value, session) =>
      this.#during(
        manner,
        `output of ${session.key}`,
        this.begin("output", session.key, session as Session),
      );
  }

  #deadLetter(manner: Manner): ((letter: DeadLetter<Message, string>) => unknown) | undefined {
    if (manner.kind === "none") return undefined;
    return (letter) => {
      this.letters.add(letter as DeadLetter);
      this.note(`letter ${letter.message.n}: ${letter.reason}`);
      const count = (this.#letterFailures.get(letter) ?? 0) + 1;
      this.#letterFailures.set(letter, count);
      const fail = (): void => {
        if (count <= manner.failures) throw new ScriptError("letter");
      };
      if (manner.kind === "sync") {
        fail();
        return undefined;
      }
      return later(this.clock, manner.ms).then(fail);
    };
  }

  #store(kind: RouterPlan["store"]): StateStore | undefined {
    if (kind === "none") return undefined;
    const states = new Map<Key, unknown>();
    const { clock } = this;
    const slowly = async (what: string, key: Key): Promise<void> => {
      const end = this.begin(what, key, undefined);
      try {
        await later(clock, 2);
      } finally {
        end();
      }
    };
    if (kind === "memory") {
      return {
        load: (key) => states.get(key),
        save: (key, state) => void states.set(key, state),
        delete: (key) => void states.delete(key),
      };
    }
    return {
      load: async (key) => {
        await slowly("load", key);
        return states.get(key);
      },
      save: async (key, state) => {
        await slowly("store", key);
        states.set(key, state);
      },
      delete: async (key) => {
        await slowly("store", key);
        states.delete(key);
      },
    };
  }

  /** Says which arrival a letter is of. */
  #assign(letter: DeadLetter): void {
    const message = letter.message as Message;
    const arrival = message.arrivals.find((each) => {
      if (each.letter === letter) return true;
      if (each.letter !== undefined || each.state === "refused") return false;
      if (letter.delivery === undefined) return each.feed === undefined;
      return each.feed !== undefined && each.attempt === letter.delivery.attempt;
    });
    if (arrival === undefined)
      this.breach(`message ${message.n} has more letters than it came (${letter.reason})`);
    else arrival.letter = letter;
  }

  assignLetters(): void {
    for (const letter of this.letters) this.#assign(letter);
  }
}

/** Its engine may refuse a settlement that came in time. */
export function lostWhileSettling(feed: Feed): boolean {
  return feed.plan.settleMs > 0;
}

/** A wait that no cancellation ends. */
export function later(clock: VirtualClock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.wakeAfter(ms, () => resolve());
  });
}

function rethrowCancelled(error: unknown): void {
  if (error instanceof CancelledError) throw error;
}
