// `npm start`: the visits in a real web server's log, from a fresh clone on.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { build } from "./build.ts";
import { root } from "./support/repository.ts";

const complaints = build({ ifStale: true });
if (complaints !== "") {
  console.error(`Cannot start: the build failed\n${complaints}`);
  process.exit(1);
}
const run = [
  "run",
  "examples/web-sessions/visits.ts",
  "--input",
  "examples/web-sessions/access.log",
  "--output",
  "visits.ndjson",
];
console.error(`$ heddle ${run.join(" ")}`);
const { status, signal } = spawnSync(process.execPath, [join(root, "dist/cli/bin.js"), ...run], {
  cwd: root,
  stdio: "inherit",
});
if (status === 0) {
  console.error(`
What to try next:
  npx heddle run ${run[1]} --input ${run[3]} | head -3
  npx heddle demo
The visits, one JSON object a line: visits.ndjson`);
}
process.exitCode = signal === null ? (status ?? 1) : 1;
