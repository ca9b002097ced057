// Two things at the same time, at every distance of microtasks from each
// other: a message and the end of its session, its idle time, its cancellation;
// a failure and an end; an eviction and a message; a drain and everything.
//
// One strand brings a session to where it matters, two more act at offsets of
// their own, counted from there.
import fc from "fast-check";
import { test } from "vitest";
import { holds } from "./test-support/check.ts";
import {
  anyMessage,
  anyOp,
  calmRouter,
  calmScript,
  type Manner,
  type MessagePlan,
  noManner,
  type Op,
  type Plan,
  type RouterPlan,
  type Script,
} from "./test-support/plan.ts";

const long = 3_600_000;
const furthest = 20;
const offset = fc.nat({ max: furthest });

const style = fc.constantFrom<RouterPlan["style"]>("message", "iterate", "receive");
const manner: fc.Arbitrary<Manner> = fc.record({
  kind: fc.constantFrom<Manner["kind"]>("none", "sync", "turns", "ms"),
  turns: fc.nat({ max: 6 }),
  ms: fc.integer({ min: 1, max: 3 }),
  failures: fc.nat({ max: 1 }),
});

/** What is different from router to router in every one of these. */
const variety = fc.record({
  style,
  declaredAsync: fc.boolean(),
  inboxSize: fc.integer({ min: 1, max: 2 }),
  overflow: fc.constantFrom<RouterPlan["overflow"]>("wait", "wait", "dropOldest", "reject"),
  maxRunning: fc.constantFrom(Infinity, Infinity, 1),
  ended: manner,
  stopped: manner,
  state: fc.oneof(
    { weight: 3, arbitrary: fc.constant(noManner) },
    { weight: 1, arbitrary: manner },
  ),
  onExhausted: fc.constantFrom<RouterPlan["onExhausted"]>("deadLetter", "park", "end"),
  cleanupMs: fc.constantFrom(0, 0, 2),
  graceMs: fc.integer({ min: 0, max: 5 }),
});

const script: fc.Arbitrary<Script> = fc.record({
  turns: fc.nat({ max: 8 }),
  ms: fc.constantFrom(0, 0, 2),
  deaf: fc.boolean(),
  failures: fc.constantFrom(0, 0, 0, 1, 2),
  sync: fc.boolean(),
  stubbornMs: fc.constantFrom(0, 0, 0, 8),
  denies: fc.constantFrom(false, false, true),
  acts: fc.constant([]),
});

function message(key: number, kind: MessagePlan["kind"], plan: Script = calmScript): MessagePlan {
  return { key, kind, urgent: false, time: 0, script: plan };
}

function send(plan: MessagePlan, turns = 0, how: "send" | "trySend" | "call" = "send"): Op {
  return { op: how, turns, ms: 0, awaited: false, message: plan };
}

const how = fc.constantFrom("send" as const, "trySend" as const, "call" as const);

interface Meeting {
  readonly router: Partial<RouterPlan>;
  readonly ms: number;
  readonly first: Script;
  readonly others: readonly {
    readonly script: Script;
    readonly at: number;
    readonly how: "send" | "trySend" | "call";
  }[];
  readonly at: number;
  readonly key: number;
}

/** A session of key 0 with one message, later some more messages, and `act` among them. */
function meetings(
  acting: fc.Arbitrary<Partial<RouterPlan>>,
  ms: fc.Arbitrary<number>,
  act: (meeting: Meeting) => Op[],
): fc.Arbitrary<Plan> {
  return fc
    .record({
      router: fc.tuple(variety, acting).map(([plan, more]) => ({ ...plan, ...more })),
      ms,
      first: script,
      others: fc.array(fc.record({ script, at: offset, how }), { minLength: 1, maxLength: 4 }),
      at: offset,
      key: fc.nat({ max: 1 }),
    })
    .map((meeting) => ({
      router: { ...calmRouter, ...meeting.router },
      strands: [
        [send(message(0, "start", meeting.first))],
        [
          { op: "statistics" as const, turns: 0, ms: meeting.ms },
          ...meeting.others.map((other) =>
            send(message(0, "data", other.script), other.at, other.how),
          ),
        ],
        [
          { op: "statistics" as const, turns: 0, ms: meeting.ms },
          ...act(meeting).map((op, index) => (index === 0 ? { ...op, turns: meeting.at } : op)),
        ],
      ],
      deadlineMs: Infinity,
    }));
}

const none = fc.constant({});
const soon = fc.integer({ min: 0, max: 3 });

test(
  "SessionRouter keeps its promises where a message meets the end of its session",
  () =>
    holds(
      meetings(none, soon, ({ key }) =>
        key === 0
          ? [send(message(0, "end"))]
          : [{ op: "end", key: 0, turns: 0, ms: 0 }, send(message(0, "end"), 1)],
      ),
      700,
    ),
  long,
);

test(
  "SessionRouter keeps its promises where a message meets the idle time of its session",
  () =>
    holds(
      // The messages come in the very millisecond in which the session is idle.
      meetings(
        fc.record({ idleMs: fc.constantFrom(0, 1, 2, 3) }),
        fc.integer({ min: 0, max: 5 }),
        () => [send(message(1, "data"))],
      ),
      700,
    ),
  long,
);

test(
  "SessionRouter keeps its promises where a message meets the cancellation of its session",
  () =>
    holds(
      meetings(none, soon, ({ key }) => [
        { op: key === 0 ? "cancel" : "sessionCancel", key: 0, turns: 0, ms: 0 },
      ]),
      700,
    ),
  long,
);

test(
  "SessionRouter keeps its promises where a failure meets the end of its session",
  () =>
    holds(
      meetings(
        fc.record({ attempts: fc.integer({ min: 1, max: 3 }), retryMs: fc.constantFrom(0, 1, 2) }),
        fc.integer({ min: 0, max: 2 }),
        ({ key, first }) => [
          key === 0 ? { op: "end", key: 0, turns: 0, ms: 0 } : send(message(0, "end")),
          { op: "resume", key: 0, turns: first.turns, ms: 0 },
        ],
      ).map((plan) => failing(plan)),
      700,
    ),
  long,
);

/** The first message of the program fails at least once. */
function failing(plan: Plan): Plan {
  const [[first, ...rest] = [], ...others] = plan.strands;
  if (first === undefined || first.op !== "send") return plan;
  const { message: sent } = first;
  const script = { ...sent.script, failures: sent.script.failures + 1 };
  return { ...plan, strands: [[{ ...first, message: { ...sent, script } }, ...rest], ...others] };
}

test(
  "SessionRouter keeps its promises where an eviction meets a message",
  () =>
    holds(
      meetings(
        fc.record({ maxLive: fc.constantFrom(1, 2), evict: fc.constantFrom(true, true, false) }),
        soon,
        ({ others }) => [
          send(message(1, "data", others[0]?.script)),
          send(message(2, "data"), 2),
          send(message(0, "data"), 1),
        ],
      ),
      700,
    ),
  long,
);

test(
  "SessionRouter keeps its promises where a message meets one that interrupts",
  () =>
    holds(
      meetings(
        fc.record({ interrupts: fc.constant(true), style: fc.constant("message" as const) }),
        soon,
        () => [send({ ...message(0, "data"), urgent: true })],
      ),
      700,
    ),
  long,
);

test(
  "SessionRouter keeps its promises where a drain meets messages",
  () =>
    holds(
      meetings(fc.record({ idleMs: fc.constantFrom(Infinity, 2) }), soon, ({ key, others }) => [
        {
          op: "drain",
          deadlineMs: key === 0 ? Infinity : (others[0]?.at ?? 0) % 4,
          turns: 0,
          ms: 0,
        },
      ]),
      700,
    ),
  long,
);

test(
  "SessionRouter keeps its promises where a drain meets any operation, at every distance",
  () =>
    holds(
      fc
        .record({
          router: variety,
          before: fc.array(anyMessage, { minLength: 1, maxLength: 3 }),
          op: anyOp,
          after: anyOp,
          opAt: offset,
          drainAt: offset,
          deadlineMs: fc.constantFrom(0, 1, 5, Infinity),
        })
        .map(({ router, before, op, after, opAt, drainAt, deadlineMs }) => ({
          router: { ...calmRouter, ...router },
          strands: [
            before.map((plan) => send(plan)),
            [{ ...op, turns: opAt, ms: 0 } as Op, { ...after, ms: 0 } as Op],
            [{ op: "drain" as const, turns: drainAt, ms: 0, deadlineMs }],
          ],
          deadlineMs: Infinity,
        })),
      900,
    ),
  long,
);

test(
  "SessionRouter keeps its promises where a partition is taken away among messages",
  () =>
    holds(
      fc
        .record({
          router: variety,
          messages: fc.array(anyMessage, { minLength: 1, maxLength: 5 }),
          at: offset,
          ms: soon,
          reason: fc.constantFrom("rebalanced" as const, "lost" as const),
          again: fc.boolean(),
          ack: fc.constantFrom("message" as const, "session" as const),
          byPartition: fc.boolean(),
          settleMs: fc.constantFrom(0, 0, 3),
        })
        .map(({ router, messages, at, ms, reason, again, ack, byPartition, settleMs }) => ({
          router: { ...calmRouter, ...router, ack },
          strands: [
            [
              {
                op: "consume" as const,
                turns: 0,
                ms: 0,
                source: {
                  kind: "partitions" as const,
                  messages: messages.map((each) => ({ ...each, key: each.key & 1 })),
                  gapTurns: 0,
                  gapMs: 0,
                  keepOpen: true,
                  fails: false,
                  settleMs,
                  slowOpen: false,
                  byPartition,
                },
              },
            ],
            [
              { op: "statistics" as const, turns: 0, ms },
              { op: "revoke" as const, which: 0, reason, turns: at, ms: 0 },
              { op: again ? ("redeliver" as const) : ("statistics" as const), turns: at, ms: 9 },
            ],
          ],
          deadlineMs: Infinity,
        })),
      700,
    ),
  long,
);
