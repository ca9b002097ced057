// Runs a program and throws when a promise is broken; the seed and the number
// of runs of every property.
import fc from "fast-check";
import { checkDrained, checkRest } from "./laws.ts";
import type { Plan } from "./plan.ts";
import { World } from "./world.ts";

const seed = Number(process.env["HEDDLE_SEED"] ?? 20_260_101);

/** As many runs as `usual`, unless HEDDLE_RUNS says otherwise. */
export function runs(usual: number): { readonly numRuns: number; readonly seed: number } {
  return { numRuns: Number(process.env["HEDDLE_RUNS"] ?? usual), seed };
}

/** Plays a program to its end; throws with all that went wrong, and what happened. */
export async function play(plan: Plan): Promise<World> {
  const world = new World(plan);
  await world.play();
  checkRest(world);
  await world.finish();
  checkDrained(world);
  if (world.breaches.length > 0) {
    throw new Error(`${world.breaches.join("\n")}\n\n${world.log.join("\n")}`);
  }
  return world;
}

/** Every program that `plans` makes keeps the promises. */
export async function holds(
  plans: fc.Arbitrary<Plan>,
  usual: number,
  examples: readonly Plan[] = [],
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      await play(plan);
    }),
    { ...runs(usual), examples: examples.map((plan) => [plan]) },
  );
}
