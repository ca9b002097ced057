// Programs for the router to be played with: its options, what its handlers do,
// and what senders and operators do at the same time. Everything is data, so
// that a program which fails can be made smaller, printed and kept.
import fc from "fast-check";

/** Keys are small: programs meet on them. */
export const keys = ["a", "b", "c", "d"] as const;

export type Kind = "start" | "data" | "end";

/** What a handler does with a message. */
export interface Script {
  /** Microtasks that it takes */
  readonly turns: number;
  /** Virtual time that it takes */
  readonly ms: number;
  /** Whether that time ends at a cancellation */
  readonly deaf: boolean;
  /** So many tries throw */
  readonly failures: number;
  /** Message style: gives no promise */
  readonly sync: boolean;
  /** So long it goes on after it was cancelled */
  readonly stubbornMs: number;
  /** It ends well in spite of its cancellation */
  readonly denies: boolean;
  readonly acts: readonly Act[];
}

export interface MessagePlan {
  readonly key: number;
  readonly kind: Kind;
  readonly urgent: boolean;
  /** Event time, where the router has it */
  readonly time: number;
  readonly script: Script;
}

/** What a handler does besides. */
export type Act =
  | {
      readonly do: "send";
      readonly how: "send" | "trySend";
      readonly awaited: boolean;
      readonly message: MessagePlan;
    }
  | {
      readonly do: "child";
      readonly ms: number;
      readonly stubbornMs: number;
      readonly fails: boolean;
      readonly bare: boolean;
    }
  | { readonly do: "strand"; readonly ms: number }
  | { readonly do: "keepAlive"; readonly ms: number }
  | {
      readonly do: "sendAfter";
      readonly ms: number;
      readonly calledOff: boolean;
      readonly message: MessagePlan;
    }
  | { readonly do: "idleMs"; readonly ms: number }
  | { readonly do: "end" | "cancel" | "cancelTask" | "save" | "leave" | "look" }
  | { readonly do: "cancelKey" | "resume"; readonly key: number }
  | { readonly do: "drain"; readonly deadlineMs: number };

/** What comes from outside. */
export type Op = { readonly turns: number; readonly ms: number } & (
  | {
      readonly op: "send" | "trySend" | "call";
      readonly awaited: boolean;
      readonly message: MessagePlan;
    }
  | { readonly op: "consume"; readonly source: SourcePlan }
  | { readonly op: "abort"; readonly which: number }
  | { readonly op: "cancelStrand"; readonly which: number }
  | { readonly op: "cancel" | "sessionCancel" | "end" | "resume" | "why"; readonly key: number }
  | { readonly op: "replay"; readonly which: number }
  | {
      readonly op: "revoke";
      readonly which: number;
      readonly reason: "rebalanced" | "lost" | "released";
    }
  | { readonly op: "redeliver" | "endSources" | "statistics" | "join" | "pause" }
  | { readonly op: "drain"; readonly deadlineMs: number }
);

export interface SourcePlan {
  readonly kind: "array" | "async" | "memory" | "partitions";
  readonly messages: readonly MessagePlan[];
  /** `async`: what it takes between two items */
  readonly gapTurns: number;
  readonly gapMs: number;
  readonly keepOpen: boolean;
  readonly fails: boolean;
  readonly settleMs: number;
  readonly slowOpen: boolean;
  readonly byPartition: boolean;
}

/** How a callback behaves. */
export interface Manner {
  readonly kind: "none" | "sync" | "turns" | "ms" | "deaf";
  readonly turns: number;
  readonly ms: number;
  /** So many calls throw */
  readonly failures: number;
}

export interface RouterPlan {
  readonly style: "message" | "iterate" | "receive" | "timeouts";
  readonly inboxSize: number;
  readonly overflow: "wait" | "reject" | "dropOldest" | "dropNewest";
  readonly maxHeld: number;
  readonly maxLive: number;
  readonly evict: boolean;
  readonly maxRunning: number;
  readonly starts: boolean;
  readonly ends: boolean;
  readonly duplicateStart: "deliver" | "replace" | "deadLetter";
  readonly late: "deadLetter" | "drop";
  readonly idleMs: number;
  readonly interrupts: boolean;
  /** Event time; `undefined`: the clock's */
  readonly latenessMs: number | undefined;
  readonly attempts: number;
  readonly retryMs: number | undefined;
  readonly onExhausted: "deadLetter" | "park" | "end";
  readonly deadLetter: Manner;
  readonly ack: "message" | "session";
  readonly graceMs: number;
  readonly ended: Manner;
  readonly stopped: Manner;
  readonly state: Manner;
  readonly output: Manner;
  readonly store: "none" | "memory" | "slow";
  /** Message style: the handler is an async function, also where it waits for nothing */
  readonly declaredAsync: boolean;
  /** Loop style: what comes after the loop */
  readonly afterLoopMs: number;
  readonly afterLoopThrows: boolean;
  readonly cleanupMs: number;
}

export interface Plan {
  readonly router: RouterPlan;
  /** Each one is a task of its own, at the same time */
  readonly strands: readonly (readonly Op[])[];
  readonly deadlineMs: number;
}

// What is usual is weighed more than what is rare, so that programs run for a
// while before something ends them.

const rarely = (share: number): fc.Arbitrary<boolean> =>
  fc.oneof(
    { withCrossShrink: true },
    { weight: 100 - share, arbitrary: fc.constant(false) },
    { weight: share, arbitrary: fc.constant(true) },
  );

function mostly<T>(usual: T, share: number, rare: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof(
    { withCrossShrink: true },
    { weight: 100 - share, arbitrary: fc.constant(usual) },
    { weight: share, arbitrary: rare },
  );
}

const someMs = mostly(0, 40, fc.integer({ min: 1, max: 12 }));

const key = fc.nat({ max: keys.length - 1 });

function script(acts: fc.Arbitrary<readonly Act[]>): fc.Arbitrary<Script> {
  return fc.record({
    turns: fc.nat({ max: 4 }),
    ms: someMs,
    deaf: rarely(10),
    failures: mostly(0, 20, fc.integer({ min: 1, max: 4 })),
    sync: rarely(40),
    stubbornMs: mostly(0, 10, fc.integer({ min: 1, max: 60 })),
    denies: rarely(10),
    acts,
  });
}

function message(script: fc.Arbitrary<Script>): fc.Arbitrary<MessagePlan> {
  return fc.record({
    key,
    kind: fc.oneof(
      { weight: 3, arbitrary: fc.constant<Kind>("data") },
      { weight: 2, arbitrary: fc.constant<Kind>("start") },
      { weight: 1, arbitrary: fc.constant<Kind>("end") },
    ),
    urgent: rarely(15),
    time: fc.nat({ max: 60 }),
    script,
  });
}

const leaf = message(script(fc.constant([])));

const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("send" as const),
      how: fc.constantFrom("send" as const, "trySend" as const),
      awaited: rarely(30),
      message: leaf,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("child" as const),
      ms: fc.nat({ max: 15 }),
      stubbornMs: mostly(0, 15, fc.integer({ min: 1, max: 60 })),
      fails: rarely(15),
      bare: rarely(50),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("strand" as const), ms: fc.nat({ max: 30 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("keepAlive" as const), ms: fc.nat({ max: 15 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("sendAfter" as const),
      ms: fc.nat({ max: 15 }),
      calledOff: rarely(15),
      message: leaf,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("idleMs" as const), ms: fc.nat({ max: 20 }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(...(["end", "cancel", "cancelTask", "save", "leave", "look"] as const)),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("cancelKey" as const, "resume" as const),
      key,
    }),
  },
);

const acts = mostly<readonly Act[]>([], 30, fc.array(act, { minLength: 1, maxLength: 2 }));

/** A message whose handler may do all kinds of things. */
export const anyMessage: fc.Arbitrary<MessagePlan> = message(script(acts));

const source: fc.Arbitrary<SourcePlan> = fc.record({
  kind: fc.constantFrom(...(["array", "async", "memory", "partitions"] as const)),
  messages: fc.array(anyMessage, { maxLength: 10 }),
  gapTurns: fc.nat({ max: 3 }),
  gapMs: someMs,
  keepOpen: rarely(30),
  fails: rarely(10),
  settleMs: mostly(0, 15, fc.integer({ min: 1, max: 30 })),
  slowOpen: rarely(15),
  byPartition: rarely(60),
});

const gap = { turns: fc.nat({ max: 6 }), ms: someMs };

const deadlineMs = fc.oneof(
  { weight: 2, arbitrary: fc.constant(Infinity) },
  { weight: 3, arbitrary: fc.nat({ max: 40 }) },
);

const sending: fc.Arbitrary<Op> = fc.record({
  ...gap,
  op: fc.constantFrom(...(["send", "send", "send", "trySend", "call"] as const)),
  awaited: rarely(15),
  message: anyMessage,
});

const keyed: fc.Arbitrary<Op> = fc.record({
  ...gap,
  op: fc.constantFrom(...(["cancel", "sessionCancel", "end", "resume", "resume", "why"] as const)),
  key,
});

const other: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ ...gap, op: fc.constant("consume" as const), source }) },
  {
    weight: 2,
    arbitrary: fc.record({ ...gap, op: fc.constant("abort" as const), which: fc.nat({ max: 9 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      ...gap,
      op: fc.constant("cancelStrand" as const),
      which: fc.nat({ max: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ ...gap, op: fc.constant("replay" as const), which: fc.nat({ max: 3 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      ...gap,
      op: fc.constant("revoke" as const),
      which: fc.nat({ max: 5 }),
      reason: fc.constantFrom(...(["rebalanced", "lost", "released"] as const)),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      ...gap,
      op: fc.constantFrom(...(["redeliver", "endSources", "statistics", "join", "pause"] as const)),
    }),
  },
);

/** What comes from outside, without a drain. */
export const anyOp: fc.Arbitrary<Op> = fc.oneof(
  { weight: 12, arbitrary: sending },
  { weight: 4, arbitrary: keyed },
  { weight: 4, arbitrary: other },
);

export const drainOp: fc.Arbitrary<Op> = fc.record({
  ...gap,
  op: fc.constant("drain" as const),
  deadlineMs,
});

function manner(share: number, failures: number): fc.Arbitrary<Manner> {
  return fc.record({
    kind: mostly<Manner["kind"]>(
      "none",
      share,
      fc.constantFrom(...(["sync", "sync", "turns", "ms", "deaf"] as const)),
    ),
    turns: fc.nat({ max: 4 }),
    ms: fc.integer({ min: 1, max: 12 }),
    failures: mostly(0, 25, fc.nat({ max: failures })),
  });
}

export const noManner: Manner = { kind: "none", turns: 0, ms: 1, failures: 0 };

export const anyRouter: fc.Arbitrary<RouterPlan> = fc.record({
  style: fc.constantFrom(
    ...(["message", "message", "message", "iterate", "iterate", "receive", "timeouts"] as const),
  ),
  inboxSize: fc.integer({ min: 1, max: 3 }),
  overflow: mostly<RouterPlan["overflow"]>(
    "wait",
    45,
    fc.constantFrom("reject", "dropOldest", "dropNewest"),
  ),
  maxHeld: mostly(1_000, 35, fc.integer({ min: 1, max: 6 })),
  maxLive: mostly(Infinity, 35, fc.integer({ min: 1, max: 3 })),
  evict: fc.boolean(),
  maxRunning: mostly(Infinity, 35, fc.integer({ min: 1, max: 2 })),
  starts: fc.boolean(),
  ends: fc.boolean(),
  duplicateStart: mostly<RouterPlan["duplicateStart"]>(
    "deliver",
    50,
    fc.constantFrom("replace", "deadLetter"),
  ),
  late: fc.constantFrom("deadLetter", "drop"),
  idleMs: mostly(Infinity, 50, fc.integer({ min: 0, max: 15 })),
  interrupts: rarely(35),
  latenessMs: mostly<number | undefined>(undefined, 15, fc.nat({ max: 30 })),
  attempts: fc.integer({ min: 1, max: 3 }),
  retryMs: fc.oneof(
    { weight: 8, arbitrary: fc.nat({ max: 8 }) },
    { weight: 1, arbitrary: fc.constant(undefined) },
  ),
  onExhausted: fc.constantFrom("deadLetter", "park", "end"),
  deadLetter: manner(50, 3),
  ack: mostly<RouterPlan["ack"]>("message", 30, fc.constant("session" as const)),
  graceMs: fc.integer({ min: 0, max: 20 }),
  ended: manner(60, 3),
  stopped: manner(60, 3),
  state: manner(35, 3),
  output: manner(20, 2),
  store: mostly<RouterPlan["store"]>("none", 25, fc.constantFrom("memory", "slow")),
  declaredAsync: rarely(30),
  afterLoopMs: someMs,
  afterLoopThrows: rarely(10),
  cleanupMs: someMs,
});

/** The calm router of most focused properties. */
export const calmRouter: RouterPlan = {
  style: "message",
  inboxSize: 2,
  overflow: "wait",
  maxHeld: 1_000,
  maxLive: Infinity,
  evict: false,
  maxRunning: Infinity,
  starts: false,
  ends: true,
  duplicateStart: "deliver",
  late: "deadLetter",
  idleMs: Infinity,
  interrupts: false,
  latenessMs: undefined,
  attempts: 2,
  retryMs: 3,
  onExhausted: "deadLetter",
  deadLetter: noManner,
  ack: "message",
  graceMs: 10,
  ended: noManner,
  stopped: noManner,
  state: noManner,
  output: noManner,
  store: "none",
  declaredAsync: false,
  afterLoopMs: 0,
  afterLoopThrows: false,
  cleanupMs: 0,
};

export const calmScript: Script = {
  turns: 0,
  ms: 0,
  deaf: false,
  failures: 0,
  sync: false,
  stubbornMs: 0,
  denies: false,
  acts: [],
};

/** Whole programs: up to three strands, everything in them. */
export const anyPlan: fc.Arbitrary<Plan> = fc.record({
  router: anyRouter,
  strands: fc.array(fc.array(anyOp, { minLength: 1, maxLength: 14 }), {
    minLength: 1,
    maxLength: 3,
  }),
  deadlineMs,
});

/** The same with a drain somewhere in the middle of it. */
export const anyPlanWithDrain: fc.Arbitrary<Plan> = fc
  .record({ plan: anyPlan, drain: drainOp, strand: fc.nat({ max: 2 }), at: fc.nat({ max: 14 }) })
  .map(({ plan, drain, strand, at }) => {
    const strands = plan.strands.map((ops) => [...ops]);
    strands[strand % strands.length]?.splice(at, 0, drain);
    return { ...plan, strands };
  });
