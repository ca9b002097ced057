// The router's properties for a long time, with a seed of their own each time.
//
//   node stress/properties.ts [RUNS] [SEED]
//
// 20,000 runs of each property unless told otherwise. A failure prints the seed
// and the program, made as small as it gets; the same seed finds it again.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const runs = process.argv[2] ?? "20000";
const seed = process.argv[3] ?? String(Date.now() % 2 ** 31);

console.log(`properties: ${runs} runs each, seed ${seed}`);
const vitest = fileURLToPath(new URL("../node_modules/vitest/vitest.mjs", import.meta.url));
const { status } = spawnSync(process.execPath, [vitest, "run", "src/session/properties"], {
  cwd: fileURLToPath(new URL("..", import.meta.url)),
  env: { ...process.env, HEDDLE_RUNS: runs, HEDDLE_SEED: seed },
  stdio: "inherit",
});
process.exitCode = status ?? 1;
