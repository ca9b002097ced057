// Runs and type-checks every example of the README, the docs and the doc
// comments, against the built package, as a user's own module would be run.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { build } from "./build.ts";
import { examplesInMarkdown, examplesInSource, type Example } from "./support/examples.ts";
import { filesUnder, readText, root } from "./support/repository.ts";

const timeLimitMs = 20_000;
const folder = join(root, ".heddle/examples");

interface Block {
  readonly example: Example;
  readonly file: string;
}

function collect(): Example[] {
  const markdown = [
    ...filesUnder("docs", (path) => path.endsWith(".md")),
    ...(existsSync(join(root, "README.md")) ? ["README.md"] : []),
  ];
  const sources = filesUnder(
    "src",
    (path) => /(?<!\.test|\.test-d)\.ts$/.test(path) && !path.includes("/test-support/"),
  );
  return [
    ...markdown.flatMap((path) => examplesInMarkdown(path, readText(path))),
    ...sources.flatMap((path) => examplesInSource(path, readText(path))),
  ];
}

/** Writes each block to a file of its own, at the line where it stands, so that every complaint names that line. */
function write(examples: readonly Example[]): Block[] {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, "work"), { recursive: true });
  return examples.map((example) => {
    const file = join(folder, `${example.path.replaceAll("/", "+")}+${example.line}.ts`);
    writeFileSync(file, `${"\n".repeat(example.line - 1)}${example.code}\n`);
    return { example, file };
  });
}

function inTheirOwnNames(text: string, blocks: readonly Block[]): string {
  return blocks.reduce((said, { example, file }) => {
    const name = file.slice(folder.length + 1);
    return said
      .replaceAll(`file://${file}`, example.path)
      .replaceAll(file, example.path)
      .replaceAll(`.heddle/examples/${name}`, example.path)
      .replaceAll(name, example.path);
  }, text);
}

/** @returns what the compiler complains of; the programs of examples/ are checked along with the blocks */
function typeErrors(blocks: readonly Block[]): string {
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      extends: "../../tsconfig.json",
      // No paths: the package's name leads through "exports" to dist/, as it does for a user.
      // Libraries are checked as well: the built declarations have to stand by themselves.
      compilerOptions: { paths: {}, moduleDetection: "force", skipLibCheck: false },
      include: ["./*.ts", "../../examples/**/*.ts"],
      exclude: ["../../examples/**/*.test.ts"],
    }),
  );
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, "node_modules/typescript/bin/tsc"), "-p", folder, "--pretty", "false"],
    { cwd: root, encoding: "utf8" },
  );
  if (status === 0) return "";
  return (
    inTheirOwnNames(`${stdout}${stderr}`, blocks).trim() || `the compiler ended with ${status}`
  );
}

/** @returns how the block failed; `undefined` when it ran to its end */
async function failureOf({ example, file }: Block): Promise<string | undefined> {
  const child = spawn(process.execPath, [file], {
    cwd: join(folder, "work"),
    env: { ...process.env, NO_COLOR: "1", NODE_OPTIONS: "" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeLimitMs,
    killSignal: "SIGKILL",
  });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>(
    (resolve, reject) => {
      child.on("error", reject);
      child.on("close", (...how) => resolve(how));
    },
  );
  if (status === 0) return undefined;
  const how = {
    unfinished: "waits at its end for something that never comes",
    killed: `did not end within ${timeLimitMs / 1_000} s`,
    failed: `ended with ${status ?? signal}`,
  }[status === 13 ? "unfinished" : signal === "SIGKILL" ? "killed" : "failed"];
  const output = inTheirOwnNames(said, [{ example, file }]).trim().replaceAll(/^/gm, "    ");
  return `${example.path}:${example.line}: the example ${how}\n${output}`;
}

async function runAll(blocks: readonly Block[]): Promise<string[]> {
  const failures: string[] = [];
  const waiting = blocks.values();
  const worker = async (): Promise<void> => {
    for (const block of waiting) {
      const failure = await failureOf(block);
      if (failure !== undefined) failures.push(failure);
    }
  };
  await Promise.all(Array.from({ length: Math.max(2, availableParallelism()) }, worker));
  return failures.toSorted();
}

const startedAt = performance.now();
const complaints = build({ ifStale: true });
if (complaints !== "") {
  console.error(`Cannot run the examples: the build failed\n${complaints}`);
  process.exit(1);
}
const examples = collect();
const blocks = write(examples.filter(({ notRun }) => notRun === undefined));
const unexplained = examples
  .filter(({ notRun }) => notRun === "")
  .map(({ path, line }) => `${path}:${line}: "no-run" needs a reason after it`);
const errors = typeErrors(blocks);
const failures = await runAll(blocks);

for (const failure of [...unexplained, ...failures]) console.error(`${failure}\n`);
if (errors !== "") console.error(`Types:\n${errors}\n`);
const skipped = examples.length - blocks.length;
console.log(
  `${blocks.length} examples run, ${failures.length} failed, ${skipped} not run; types ${
    errors === "" ? "pass" : "fail"
  }; ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`,
);
if (unexplained.length + failures.length > 0 || errors !== "") process.exitCode = 1;
