// The seven promises, kept by every program: all options, all that a handler
// does, and everything that senders, sources and operators do at the same time.
import { test } from "vitest";
import { holds } from "./test-support/check.ts";
import {
  anyPlan,
  anyPlanWithDrain,
  calmRouter,
  calmScript,
  type Op,
  type Plan,
  type RouterPlan,
  type Script,
} from "./test-support/plan.ts";

// A run by HEDDLE_RUNS may take hours.
const long = 3_600_000;

function send(key: number, script: Partial<Script> = {}, op: "send" | "call" = "send"): Op {
  const message = { key, kind: "data" as const, urgent: false, time: 0 };
  const full = { ...message, script: { ...calmScript, ...script } };
  return { op, turns: 0, ms: 0, awaited: false, message: full };
}

function plan(router: Partial<RouterPlan>, ...strands: Op[][]): Plan {
  return { router: { ...calmRouter, ends: false, ...router }, strands, deadlineMs: Infinity };
}

// What has broken once.
const seen: Plan[] = [
  // Who is let in while a message counts as handled dropped the one that was handed over next.
  plan({ style: "receive", overflow: "dropOldest", maxHeld: 2, inboxSize: 1 }, [
    send(1, { ms: 1 }),
    send(1),
    send(1, {}, "call"),
  ]),
  // The first promise that a state gave was nobody's, and the next session began while it was made.
  plan({ state: { kind: "ms", turns: 0, ms: 1, failures: 0 } }, [
    send(0),
    { op: "cancel", key: 0, turns: 1, ms: 0 },
    send(0),
  ]),
  // A child had ended, and nobody looked whether its session could be evicted now.
  plan({ maxLive: 1, evict: true }, [
    send(0, { acts: [{ do: "child", ms: 1, stubbornMs: 0, fails: false, bare: false }] }),
    send(1),
  ]),
  // A handler that had asked, and gave up before its turn came, "had" the message.
  plan({ style: "timeouts", maxRunning: 1, graceMs: 0, inboxSize: 1 }, [
    send(0, { ms: 1, acts: [{ do: "end" }] }),
    send(1, { ms: 30 }),
    send(0),
  ]),
];

test(
  "SessionRouter keeps its promises whatever happens at the same time, and comes to rest by itself",
  () => holds(anyPlan, 1_500, seen),
  long,
);

test(
  "SessionRouter keeps its promises when it is drained in the middle of everything",
  () => holds(anyPlanWithDrain, 1_500),
  long,
);
