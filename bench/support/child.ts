// The other end of processes.ts: one contender, one measurement, one line of JSON.
import process from "node:process";
import type { ContenderModule } from "./contender.ts";
import type { Plan, Question } from "./question.ts";

const [, , questionName, contenderName, planText = "{}"] = process.argv;

// Not built, not installed, or without that door: a row that says so, no failure.
const missing = new Set([
  "ERR_MODULE_NOT_FOUND",
  "ERR_PACKAGE_PATH_NOT_EXPORTED",
  "ERR_PACKAGE_IMPORT_NOT_DEFINED",
]);

async function load(): Promise<ContenderModule> {
  try {
    return (await import(`../contenders/${contenderName}.ts`)) as ContenderModule;
  } catch (error) {
    if (!missing.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    const why = contenderName?.startsWith("heddle") ? "not built" : "not installed";
    process.stdout.write(`${JSON.stringify({ missing: why })}\n`);
    process.exit(0);
  }
}

const { question } = (await import(`../${questionName}.ts`)) as { readonly question: Question };
const { open } = await load();
if (question.inChild === undefined)
  throw new Error(`${questionName} has nothing to run in a child`);
const value = await question.inChild(open, JSON.parse(planText) as Plan);
process.stdout.write(`${JSON.stringify({ value })}\n`, () => {
  // Idle sessions and their timer would keep the process for thirty seconds more.
  process.exit(0);
});
