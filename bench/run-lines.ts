// What does the command cost? `heddle run` over 2 million NDJSON lines of 1,000
// keys, against readline and JSON.parse over the same file: whole processes, from
// their start to their end.
import { once } from "node:events";
import { createWriteStream, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { finished, nodeFlags } from "./support/processes.ts";
import { MissingError, type Question, type Settings } from "./support/question.ts";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const command = here("../dist/cli/bin.js");
const files = new Map<number, Promise<string>>();

/** Written once a run, about 120 bytes a line. */
function inputFile(lines: number): Promise<string> {
  let file = files.get(lines);
  if (file === undefined) files.set(lines, (file = written(lines)));
  return file;
}

async function written(lines: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "lines.ndjson");
  const file = createWriteStream(path, { highWaterMark: 1 << 20 });
  for (let n = 0; n < lines; n++) {
    const at = 1_700_000_000_000 + n;
    const line = {
      key: `session-${n % 1_000}`,
      at,
      n,
      text: "GET /wp-content/themes/2019/style.css HTTP/1.1 200",
    };
    if (!file.write(`${JSON.stringify(line)}\n`)) await once(file, "drain");
  }
  file.end();
  await once(file, "finish");
  return path;
}

async function linesPerSecond(
  { node, quick }: Settings,
  args: (file: string) => readonly string[],
): Promise<number> {
  const lines = quick ? 100_000 : 2_000_000;
  const file = await inputFile(lines);
  const start = performance.now();
  const { status, stderr } = await finished(node, [...nodeFlags, ...args(file)]);
  const seconds = (performance.now() - start) / 1_000;
  if (stderr.includes("ERR_MODULE_NOT_FOUND")) throw new MissingError("not built");
  const handled = status === 0 ? handledBy(stderr) : 0;
  if (handled !== lines) {
    throw new Error(`status ${status}, ${handled} of ${lines} lines handled\n${stderr}`);
  }
  return lines / seconds;
}

/** Both sides end with a summary, one JSON object on the last line of standard error. */
function handledBy(stderr: string): number {
  const summary = JSON.parse(stderr.trimEnd().split("\n").at(-1) ?? "") as { handled: number };
  return summary.handled;
}

export const question: Question = {
  name: "run-lines",
  title: "heddle run over 2 million NDJSON lines",
  unit: "lines/s",
  base: "bare",
  rows: [
    {
      id: "bare",
      label: "readline and JSON.parse",
      measure: (settings) =>
        linesPerSecond(settings, (file) => [here("peers/lines-bare.ts"), file]),
    },
    {
      id: "heddle-run",
      label: "heddle run",
      measure(settings) {
        if (!existsSync(command)) throw new MissingError("not built");
        return linesPerSecond(settings, (file) => [
          command,
          "run",
          here("peers/lines-module.ts"),
          "--input",
          file,
          "--json",
        ]);
      },
    },
  ],
  promises: [
    {
      what: "heddle run / readline and JSON.parse",
      row: "heddle-run",
      against: "bare",
      atLeast: 0.7,
    },
  ],
};
