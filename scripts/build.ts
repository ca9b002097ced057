// Builds dist/ with the compiler alone. `--if-stale` does nothing when dist/ is
// newer than everything it is made of.
import { rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { filesUnder, isMain, root } from "./support/repository.ts";

const stamp = join(root, "dist/.built");

function changedAt(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function isStale(): boolean {
  const builtAt = changedAt(stamp);
  const inputs = ["tsconfig.json", "tsconfig.build.json", "package.json"];
  // A folder's own time tells of files that were taken away.
  return (
    [...inputs, ...filesUnder("src", () => true)].some(
      (path) => changedAt(join(root, path)) > builtAt,
    ) || filesUnder("dist", (path) => path.endsWith(".d.ts")).some((path) => !hasSource(path))
  );
}

function hasSource(path: string): boolean {
  const source = path.replace(/^dist\//, "src/").replace(/\.(d\.ts|js)(\.map)?$/, ".ts");
  return changedAt(join(root, source)) > 0;
}

/** @returns the compiler's complaints, `""` when there were none */
export function build({ ifStale = false } = {}): string {
  if (ifStale && !isStale()) return "";
  const startedAt = new Date();
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [compiler, "-p", "tsconfig.build.json"],
    { cwd: root, encoding: "utf8" },
  );
  if (error !== undefined) return error.message;
  // Files in place are overwritten, not removed first: somebody may be running them.
  for (const path of filesUnder("dist", (path) => /\.(js|d\.ts)(\.map)?$/.test(path))) {
    if (!hasSource(path)) rmSync(join(root, path));
  }
  if (status !== 0) return `${stdout}${stderr}`.trim() || `the compiler ended with ${status}`;
  writeFileSync(stamp, "");
  // As old as the build's beginning: what changed meanwhile may not be in it.
  utimesSync(stamp, startedAt, startedAt);
  return "";
}

if (isMain(import.meta)) {
  const complaints = build({ ifStale: process.argv.includes("--if-stale") });
  if (complaints !== "") {
    console.error(complaints);
    process.exitCode = 1;
  }
}
