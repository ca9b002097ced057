// Promise 7: what one key does, slows no other. Every program is played twice,
// with a key that is slow, deaf, poisoned and flooded, and without it; the other
// keys' messages are handled in the same milliseconds.
import fc from "fast-check";
import { expect, test } from "vitest";
import { play, runs } from "./test-support/check.ts";
import {
  anyRouter,
  calmRouter,
  calmScript,
  type MessagePlan,
  type Op,
  type Plan,
  type RouterPlan,
  type Script,
  type SourcePlan,
} from "./test-support/plan.ts";
import type { World } from "./test-support/world.ts";

const trouble: fc.Arbitrary<Script> = fc.record({
  turns: fc.nat({ max: 4 }),
  ms: fc.constantFrom(0, 50, 500),
  deaf: fc.boolean(),
  failures: fc.constantFrom(0, 1, 9),
  sync: fc.boolean(),
  stubbornMs: fc.constantFrom(0, 100),
  denies: fc.boolean(),
  acts: fc.constant([]),
});

const calm: fc.Arbitrary<Script> = fc.record({
  turns: fc.nat({ max: 4 }),
  ms: fc.constantFrom(0, 0, 1, 5),
  deaf: fc.boolean(),
  failures: fc.constantFrom(0, 0, 0, 1),
  sync: fc.boolean(),
  stubbornMs: fc.constant(0),
  denies: fc.constant(false),
  acts: fc.constant([]),
});

function message(
  key: fc.Arbitrary<number>,
  script: fc.Arbitrary<Script>,
): fc.Arbitrary<MessagePlan> {
  return fc.record({
    key,
    kind: fc.constantFrom("start", "data", "data", "end"),
    urgent: fc.constant(false),
    time: fc.constant(0),
    script,
  });
}

// What is sent and what is consumed have keys of their own but for the one that
// makes trouble: who comes first, a send or a source, is nobody's promise.
const sent = fc.oneof(message(fc.constant(0), trouble), message(fc.constant(1), calm));
const consumed = fc.oneof(message(fc.constant(0), trouble), message(fc.constantFrom(2, 3), calm));

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constantFrom("send" as const, "send" as const, "call" as const),
      turns: fc.nat({ max: 5 }),
      ms: fc.constantFrom(0, 0, 1, 7),
      awaited: fc.constant(false),
      message: sent,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom("cancel" as const, "end" as const, "resume" as const),
      turns: fc.nat({ max: 5 }),
      ms: fc.constantFrom(0, 2),
      key: fc.constant(0),
    }),
  },
);

const consuming: fc.Arbitrary<Op> = fc.record({
  op: fc.constant("consume" as const),
  turns: fc.nat({ max: 5 }),
  ms: fc.constantFrom(0, 3),
  source: fc.record({
    kind: fc.constantFrom("array" as const, "memory" as const, "partitions" as const),
    messages: fc.array(consumed, { maxLength: 16 }),
    gapTurns: fc.constant(0),
    gapMs: fc.constant(0),
    keepOpen: fc.boolean(),
    fails: fc.constant(false),
    settleMs: fc.constantFrom(0, 4),
    slowOpen: fc.boolean(),
    byPartition: fc.boolean(),
  }),
});

// Places, permits and the room of all are shared, and so is the clock's idle
// time of nobody: everything else is as it comes.
const router: fc.Arbitrary<RouterPlan> = anyRouter.map((plan) => ({
  ...plan,
  maxHeld: 1_000,
  maxLive: Infinity,
  maxRunning: Infinity,
  latenessMs: undefined,
  // Never in the same instant as a message: who is first then is nobody's promise.
  idleMs: plan.idleMs + 0.5,
  attempts: 2,
  state: { ...plan.state, failures: 0 },
}));

const plans: fc.Arbitrary<Plan> = fc.record({
  router,
  strands: fc.tuple(
    fc.array(op, { minLength: 1, maxLength: 12 }),
    consuming.map((each) => [each]),
  ),
  deadlineMs: fc.constant(Infinity),
});

function withoutTrouble(plan: Plan): Plan {
  const quiet = (each: Op): Op => {
    if (each.op === "consume") return { ...each, source: calmSource(each.source) };
    if ("message" in each && each.message.key === 0)
      return { op: "statistics", turns: each.turns, ms: each.ms };
    return each;
  };
  return { ...plan, strands: plan.strands.map((ops) => ops.map(quiet)) };
}

function calmSource(source: SourcePlan): SourcePlan {
  return { ...source, messages: source.messages.filter(({ key }) => key !== 0) };
}

/** When the messages of the other keys were first handled. */
function times(world: World): Map<MessagePlan, number> {
  const found = new Map<MessagePlan, number>();
  for (const { n, plan } of world.messages) {
    const at = world.startedTimes.get(n);
    if (plan.key !== 0 && at !== undefined) found.set(plan, at);
  }
  return found;
}

test("SessionRouter lets no key's slowness, failure or flood slow another key", async () => {
  const property = fc.asyncProperty(plans, async (plan) => {
    const [disturbed, calm] = [times(await play(plan)), times(await play(withoutTrouble(plan)))];
    expect(disturbed.size).toBe(calm.size);
    for (const [message, at] of disturbed) expect(at).toBe(calm.get(message));
  });
  await fc.assert(property, runs(500));
}, 3_600_000);

const sources: readonly Pick<SourcePlan, "kind" | "byPartition">[] = [
  { kind: "array", byPartition: false },
  { kind: "async", byPartition: false },
  { kind: "memory", byPartition: false },
  { kind: "partitions", byPartition: false },
  { kind: "partitions", byPartition: true },
];

test.for(sources)(
  "SessionRouter goes on reading a source of which one key is stuck ($kind, credit by partition: $byPartition)",
  async (source) => {
    const stuck: Script = { ...calmScript, ms: 1_000_000, deaf: true };
    const flood = Array.from({ length: 600 }, (_, n): MessagePlan => {
      const key = n % 3;
      return { key, kind: "data", urgent: false, time: 0, script: key === 0 ? stuck : calmScript };
    });
    const world = await play({
      router: { ...calmRouter, maxHeld: 250, ends: false },
      strands: [
        [
          {
            op: "consume",
            turns: 0,
            ms: 0,
            source: {
              ...source,
              messages: flood,
              gapTurns: 0,
              gapMs: 0,
              keepOpen: false,
              fails: false,
              settleMs: 0,
              slowOpen: false,
            },
          },
        ],
      ],
      deadlineMs: Infinity,
    });
    // All of the others in the first instant: the 200 of the stuck key fit maxHeld.
    const others = world.messages.filter(({ plan }) => plan.key !== 0);
    expect(others.map(({ n }) => world.startedTimes.get(n))).toEqual(others.map(() => 0));
  },
);
