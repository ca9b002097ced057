// `npm run bench`: asks every question, prints tables of ratios and of what is
// promised. See README.md beside this file for how it measures.
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { question as churn } from "./churn.ts";
import { question as keyed } from "./keyed.ts";
import { question as memory } from "./memory.ts";
import { question as runLines } from "./run-lines.ts";
import { question as scale } from "./scale.ts";
import { machine, type Machine } from "./support/machine.ts";
import type { Settings } from "./support/question.ts";
import { ask, type QuestionResult } from "./support/rounds.ts";
import { tables } from "./support/table.ts";

const questions = [keyed, churn, memory, scale, runLines];
const names = questions.map(({ name }) => name).join(", ");

const usage = `usage: npm run bench -- [--only NAME[,NAME]] [--rounds N] [--quick] [--json] [--write] [--node PATH]
  --only    of the questions ${names}
  --rounds  how many times each contender is measured (5; with --quick 1)
  --quick   small sizes: shows that it works, the figures mean nothing
  --json    one JSON object on standard output instead of tables
  --write   keeps the tables in bench/RESULTS.md; not with --only or --quick
  --node    another node binary for the contenders`;

function wrongUse(why: string): never {
  console.error(`bench: ${why}\n${usage}`);
  process.exit(2);
}

function options() {
  try {
    return parseArgs({
      options: {
        only: { type: "string" },
        rounds: { type: "string" },
        node: { type: "string", default: process.execPath },
        quick: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        write: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    return wrongUse((error as Error).message);
  }
}

const { only, rounds, node, quick, json, write, help } = options();
if (help) {
  console.log(usage);
  process.exit(0);
}
const wanted = only?.split(",");
for (const name of wanted ?? []) {
  if (!questions.some((question) => question.name === name)) wrongUse(`no question "${name}"`);
}
if (write && (quick || only !== undefined)) wrongUse("--write keeps whole runs only");
const settings: Settings = { node, quick, rounds: Number(rounds ?? (quick ? 1 : 5)) };
if (!(Number.isInteger(settings.rounds) && settings.rounds >= 1))
  wrongUse("--rounds needs a whole number >= 1");

function progress(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${what}`);
}

const results: QuestionResult[] = [];
for (const question of questions) {
  if (wanted !== undefined && !wanted.includes(question.name)) continue;
  results.push(await ask(question, settings, progress));
}
progress("");

const where = machine(node);
const promised = Number.parseInt(where.versions["Node"] ?? "", 10) >= 24;
const text = tables(results, promised);
if (json)
  console.log(JSON.stringify({ ...where, settings: { quick, rounds: settings.rounds }, results }));
else console.log(`${conditions(where)}\n\n${text}`);
if (write) {
  const file = new URL("RESULTS.md", import.meta.url);
  const intro = "Kept by `npm run bench -- --write`; [README.md](README.md) says how it measures.";
  writeFileSync(file, `# Benchmarks\n\n${intro}\n\n${conditions(where)}\n\n${text}\n`);
}

function conditions({ date, machine: model, versions }: Machine): string {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const how = `${quick ? "QUICK (the figures mean nothing), " : ""}medians of ${settings.rounds}`;
  const nothing = promised ? "" : " Figures are promised for Node 24 and newer.";
  return `${date}, ${model}. ${list.join(", ")}; ${how}.${nothing}`;
}
