// Runs the built command as a process, as a user would.
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Readable, Writable } from "node:stream";

const bin = fileURLToPath(new URL("../../../dist/cli/bin.js", import.meta.url));

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder of a test's own, and the command run in it. */
export class Bench {
  readonly folder: string = mkdtempSync(join(tmpdir(), "heddle-cli-"));

  file(name: string, content: string): string {
    writeFileSync(join(this.folder, name), content);
    return name;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  start(args: readonly string[], nodeArgs: readonly string[] = []): Running {
    return new Running(
      spawn(process.execPath, [...nodeArgs, bin, ...args], {
        cwd: this.folder,
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, NO_COLOR: "1", NODE_OPTIONS: "" },
      }),
    );
  }

  /** Runs the command to its end, with `input` on its standard input. */
  async run(args: readonly string[], input = ""): Promise<Ran> {
    const running = this.start(args);
    running.child.stdin.end(input);
    return await running.ended;
  }

  /** Runs a line of shell in the folder; `$HEDDLE` is the command. */
  shell(line: string): Promise<Ran> {
    return new Running(
      spawn("sh", ["-c", line], {
        cwd: this.folder,
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, NO_COLOR: "1", HEDDLE: `${process.execPath} ${bin}` },
      }),
    ).ended;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Running {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly ended: Promise<Ran>;
  #stdout = "";
  #stderr = "";
  #watch: (() => void) | undefined;

  constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.child = child;
    // A command that ends without reading all of its input is no failure of the test.
    child.stdin.on("error", () => {});
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
      this.#watch?.();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
      this.#watch?.();
    });
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (status) => {
        resolve({ status, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  /** Resolves when `text` has been written, to standard output or standard error. */
  says(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#watch = () => {
        if (this.#stdout.includes(text) || this.#stderr.includes(text)) resolve();
      };
      this.#watch();
      this.ended.then(({ stdout, stderr }) => {
        // Too late when it was said in time.
        reject(new Error(`It ended without saying "${text}":\n${stdout}${stderr}`));
      }, reject);
    });
  }
}
