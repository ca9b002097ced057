// The seven promises, kept by every program: all options, all that a handler
// does, and everything that senders, sources and operators do at the same time.
import { test } from "vitest";
import { holds } from "./test-support/check.ts";
import { anyPlan, anyPlanWithDrain } from "./test-support/plan.ts";

const long = 60_000;

test(
  "SessionRouter keeps its promises whatever happens at the same time, and comes to rest by itself",
  () => holds(anyPlan, 1_500),
  long * 60,
);

test(
  "SessionRouter keeps its promises when it is drained in the middle of everything",
  () => holds(anyPlanWithDrain, 1_500),
  long * 60,
);
