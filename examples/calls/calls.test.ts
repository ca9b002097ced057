import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

test(
  "heddle run hands over every call of the example, and every message that belongs to none",
  { timeout: 60_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-calls-"));
    try {
      const deadLetters = join(folder, "dead.ndjson");
      const command = ["dist/cli/bin.js", "run", "examples/calls/calls.ts", "--json"];
      const files = ["--input", "examples/calls/calls.ndjson", "--dead-letters", deadLetters];
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        [...command, ...files],
        { cwd: root, env: { ...process.env, NODE_OPTIONS: "" } },
      );
      const calls = objects<{ call: string }>(stdout);
      expect(calls.toSorted((one, other) => one.call.localeCompare(other.call))).toEqual([
        { call: "ada", messages: 3, over: "ended" },
        { call: "ben", messages: 2, over: "replaced" },
        { call: "ben", messages: 2, over: "ended" },
        { call: "dora", messages: 2, over: "sourceEnded" },
      ]);
      const letters = objects<{ line: number; reason: string }>(readFileSync(deadLetters, "utf8"));
      expect(Object.fromEntries(letters.map(({ line, reason }) => [line, reason]))).toEqual({
        5: "late",
        6: "late",
        10: "invalid",
        11: "invalid",
      });
      expect(objects(stderr).at(-1)).toMatchObject({ handled: 9, started: 4, pending: 0 });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

function objects<T>(text: string): T[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
}
