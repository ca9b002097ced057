import { linkSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, expect, test, vi } from "vitest";
import { Bench } from "./test-support/command.ts";

// Each of these starts processes.
vi.setConfig({ testTimeout: 60_000 });

const bench = new Bench();
afterAll(() => bench.remove());

/** Counts each user's messages; a session ends with "end" or with the input. */
const visits = bench.file(
  "visits.mjs",
  `export default {
    key: (event) => event.user,
    ends: (event) => event.type === "end",
    async session(visit) {
      let messages = 0;
      for await (const event of visit) messages += 1;
      return { user: visit.key, messages, endReason: visit.endReason };
    },
  };`,
);

const good = bench.file(
  "good.ndjson",
  `{"user":"ada","type":"start"}
{"user":"bob","type":"start"}
{"user":"ada","type":"end"}

{"user":"bob","type":"more"}
`,
);

const bad = bench.file(
  "bad.ndjson",
  `{"user":"ada"}
hello
{"name":"nobody"}
{"user":"ada","type":"end"}
`,
);

test("heddle run handles the lines of a file and writes what the handlers return", async () => {
  const { status, stdout, stderr } = await bench.run(["run", visits, "--input", good]);
  expect(stdout.trim().split("\n").toSorted()).toEqual([
    `{"user":"ada","messages":2,"endReason":"ended"}`,
    `{"user":"bob","messages":2,"endReason":"sourceEnded"}`,
  ]);
  expect(stderr.replace(/in [\d.]+ m?s, [\d,]+ a second/, "in TIME")).toBe(
    `  4 messages handled in TIME
  2 sessions started, at most 2 live at once
  1   ended
  1   ended with the source
  0 late
  0 dead-lettered
  0 dropped
  0 retried
  0 pending
`,
  );
  expect(status).toBe(0);
});

test("heddle run ends with a summary when its handlers wait for what can never come", async () => {
  const module = bench.file(
    "never.js",
    `export default {
      key: (event) => event.user,
      graceMs: 10,
      message: () => new Promise(() => {}),
    };`,
  );
  const { status, stderr } = await bench.run(["run", module, "--input", good]);
  expect(stderr).toContain("2 pending");
  expect(stderr).toContain("ignores its cancellation");
  expect(status).toBe(1);
});

test("heddle run reads standard input, from a pipe and from a redirected file", async () => {
  const input = readFileSync(bench.path(good), "utf8");
  const piped = await bench.run(["run", visits], input);
  expect(piped.stdout.trim().split("\n")).toHaveLength(2);
  expect(piped.stderr).toContain("4 messages handled");
  const redirected = await bench.shell(`$HEDDLE run ${visits} --input - < ${good}`);
  expect(redirected.stdout.trim().split("\n")).toHaveLength(2);
  expect(redirected.status).toBe(0);
});

test("heddle run --json ends standard error with one JSON object", async () => {
  const { status, stderr } = await bench.run(["run", visits, "--input", good, "--json"]);
  expect(status).toBe(0);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(JSON.parse(stderr)).toMatchObject({
    status: 0,
    handled: 4,
    started: 2,
    ended: { ended: 1, sourceEnded: 1, idle: 0 },
    peakLive: 2,
    late: 0,
    deadLettered: 0,
    deadLetters: {},
    dropped: 0,
    retried: 0,
    leftovers: 0,
    pending: 0,
    lines: 5,
    bytes: 118,
    skipped: 0,
    seconds: expect.any(Number),
    perSecond: expect.any(Number),
  });
});

test("heddle run without a file for dead letters says so, shows the first, and ends with 1", async () => {
  const { status, stdout, stderr } = await bench.run(["run", visits, "--input", bad]);
  expect(status).toBe(1);
  expect(stdout).toBe(`{"user":"ada","messages":2,"endReason":"ended"}\n`);
  expect(stderr).toContain("  2 dead-lettered (2 invalid)\n");
  expect(stderr).toContain("  invalid: Cannot read line 2: not JSON (Unexpected token 'h'");
  expect(stderr).toContain("  line 3: invalid: ");
  expect(stderr).toContain("  keep them with --dead-letters FILE\n");
});

test("heddle run --dead-letters adds one JSON line for each letter to the file and ends with 0", async () => {
  bench.file("dead.ndjson", `"from an earlier run"\n`);
  const args = ["run", visits, "--input", bad, "--dead-letters", "dead.ndjson"];
  const { status, stderr } = await bench.run(args);
  expect(status).toBe(0);
  expect(stderr).toContain("  2 dead-lettered (2 invalid; kept in dead.ndjson)\n");
  const letters = readFileSync(bench.path("dead.ndjson"), "utf8").trimEnd().split("\n");
  expect(letters.map((line): unknown => JSON.parse(line))).toEqual([
    "from an earlier run",
    {
      line: 2,
      reason: "invalid",
      error: expect.stringMatching(/^Cannot read line 2: not JSON \(Unexpected token/),
      key: null,
      attempts: 0,
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      message: "hello",
    },
    {
      line: 3,
      reason: "invalid",
      error: expect.stringContaining("key"),
      key: null,
      attempts: 0,
      at: expect.any(String),
      message: { name: "nobody" },
    },
  ]);
});

test("heddle run keeps what a handler could not do, with its key and attempts", async () => {
  const module = bench.file(
    "failing.mjs",
    `export default {
      key: (event) => event.user,
      attempts: 3,
      retryDelayMs: () => 0,
      message(event) { if (event.type === "start") throw new Error("no\\nroom"); },
    };`,
  );
  const args = ["run", module, "--input", good, "--dead-letters", "failed.ndjson", "--json"];
  const { status, stderr } = await bench.run(args);
  expect(status).toBe(0);
  expect(JSON.parse(stderr)).toMatchObject({
    handled: 2,
    deadLettered: 2,
    deadLetters: { exhausted: 2 },
    retried: 4,
  });
  const [first] = readFileSync(bench.path("failed.ndjson"), "utf8").split("\n");
  expect(JSON.parse(first!)).toMatchObject({
    line: 1,
    reason: "exhausted",
    error: "no",
    key: "ada",
    attempts: 3,
  });
});

test("heddle run parses text with the module's own parse, which may skip a line or refuse it", async () => {
  const module = bench.file(
    "words.mjs",
    `export default {
      parse(line) {
        if (line.startsWith("#")) return undefined;
        const [word, count] = line.split(" ");
        if (count === undefined) throw new Error("it has no count");
        return { word, count: Number(count) };
      },
      key: ({ word }) => word,
      message: ({ count }, session) => ({ word: session.key, count }),
    };`,
  );
  const input = "# counts\na 1\nb\nc 3\n";
  const { status, stdout, stderr } = await bench.run(["run", module, "--json"], input);
  expect(status).toBe(1);
  expect(stdout).toBe(`{"word":"a","count":1}\n{"word":"c","count":3}\n`);
  expect(JSON.parse(stderr)).toMatchObject({ lines: 4, skipped: 1, handled: 2, invalid: 1 });
  const told = await bench.run(["run", module], input);
  expect(told.stderr).toContain("  1 of 4 lines skipped\n");
  expect(told.stderr).toContain("  invalid: Cannot read line 3: it has no count\n");
});

test("heddle run --output writes a file anew and says where the outputs are", async () => {
  bench.file("out.ndjson", "old\n");
  const args = ["run", visits, "--input", good, "--output", "out.ndjson"];
  const { status, stdout, stderr } = await bench.run(args);
  expect(status).toBe(0);
  expect(stdout).toBe("");
  expect(readFileSync(bench.path("out.ndjson"), "utf8").trimEnd().split("\n")).toHaveLength(2);
  expect(stderr.trimEnd().split("\n").at(-1)).toBe("  outputs are in out.ndjson");
});

test("heddle run --limit stops after so many messages", async () => {
  const { status, stderr } = await bench.run(["run", visits, "-i", good, "--limit", "2", "--json"]);
  expect(status).toBe(0);
  expect(JSON.parse(stderr)).toMatchObject({ handled: 2, started: 2, pending: 0 });
});

test("heddle run lets a module have its own source, sink, output and deadLetter", async () => {
  const module = bench.file(
    "own.mjs",
    `export default {
      source: [{ user: "ada" }, { user: "bob" }, { name: "nobody" }],
      key: (event) => event.user,
      message: (event) => event.user.toUpperCase(),
      sink: {
        name: "own",
        write(value) { console.log("sink: " + value); },
        async close() { console.log("closed"); },
      },
      deadLetter(letter) { console.log("letter: " + letter.reason); },
    };`,
  );
  const { status, stdout, stderr } = await bench.run(["run", module]);
  expect(stdout).toBe("sink: ADA\nsink: BOB\nletter: invalid\nclosed\n");
  expect(stderr).toContain("  1 dead-lettered (1 invalid; kept in the module's deadLetter)\n");
  expect(status).toBe(0);
});

test("heddle run plays a file through a module that has its own source", async () => {
  const module = bench.file(
    "both.mjs",
    `export default {
      source: [{ user: "from the source" }],
      key: (event) => event.user,
      message: (event) => event.user,
    };`,
  );
  expect((await bench.run(["run", module])).stdout).toBe(`"from the source"\n`);
  const played = await bench.run(["run", module, "--input", good, "--limit", "1"]);
  expect(played.stdout).toBe(`"ada"\n`);
});

test("heddle run loads a definition made by defineSessions, in TypeScript", async () => {
  const fixture = new URL("test-support/fixtures/visits.ts", import.meta.url).pathname;
  const { status, stdout, stderr } = await bench.run(["run", fixture, "--input", good]);
  expect(stderr).toContain("0 pending");
  expect(stdout).toContain(`{"user":"ada","messages":2}\n`);
  expect(status).toBe(0);
});

test("heddle run ends quietly with 0 when the reader of its output goes away", async () => {
  const module = bench.file(
    "echo.mjs",
    `export default { key: (n) => n % 10, message: (n) => ({ n, text: "x".repeat(100) }) };`,
  );
  bench.file("numbers.ndjson", Array.from({ length: 200_000 }, (_, n) => `${n}\n`).join(""));
  const line = `{ $HEDDLE run ${module} --input numbers.ndjson; echo "status $?" >&2; } | head -n 2`;
  const { stdout, stderr } = await bench.shell(line);
  expect(stdout.trimEnd().split("\n")).toHaveLength(2);
  expect(stderr).toBe("status 0\n");
});

test("heddle run writes no faster than its output is read", async () => {
  const module = bench.file(
    "flood.mjs",
    `let made = 0;
    function* numbers() { for (;;) { made += 1; yield made; } }
    setTimeout(() => { console.error("made " + (made < 200_000 ? "few" : made)); process.exit(0); }, 1_000);
    export default { source: numbers(), key: () => 1, message: () => "x".repeat(1_000) };`,
  );
  // Nobody reads what it writes.
  const running = bench.start(["run", module]);
  running.child.stdout.pause();
  await running.says("made few");
  running.child.stdout.resume();
  await running.ended;
});

test("heddle run drains at the first signal and ends like a run that has ended", async () => {
  const module = bench.file(
    "waiting.mjs",
    `export default {
      key: (event) => event.user,
      async session(visit) {
        for await (const event of visit) console.error("started " + event.user);
      },
    };`,
  );
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const running = bench.start(["run", module, "--json"]);
    running.child.stdin.write(`{"user":"ada"}\n`);
    await running.says("started ada");
    running.child.kill(signal);
    const { status, stderr } = await running.ended;
    expect(JSON.parse(stderr.trimEnd().split("\n").at(-1)!)).toMatchObject({
      handled: 1,
      ended: { drained: 1 },
      pending: 0,
      stoppedBy: signal,
    });
    expect(status).toBe(0);
  }
});

test("heddle run stops at once at the second signal", async () => {
  const module = bench.file(
    "stuck.mjs",
    `process.on("SIGINT", () => console.error("asked")).on("SIGTERM", () => console.error("asked"));
    setInterval(() => {}, 1_000);
    export default {
      key: () => 1,
      async message() { console.error("started"); await new Promise(() => {}); },
    };`,
  );
  for (const [signal, expected] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    const running = bench.start(["run", module]);
    running.child.stdin.write("1\n");
    await running.says("started");
    running.child.kill(signal);
    await running.says("asked");
    running.child.kill(signal);
    const { status, stdout } = await running.ended;
    expect(status).toBe(expected);
    expect(stdout).toBe("");
  }
});

test("heddle run ends with 1 and names the handler when one ignores its cancellation", async () => {
  const module = bench.file(
    "deaf.mjs",
    `export default {
      key: () => "k",
      graceMs: 50,
      drainMs: 50,
      async message() { console.error("started"); await new Promise(() => {}); },
    };`,
  );
  const running = bench.start(["run", module]);
  running.child.stdin.write("1\n");
  await running.says("started");
  running.child.kill("SIGTERM");
  const { status, stderr } = await running.ended;
  expect(status).toBe(1);
  expect(stderr).toContain("  1 pending\n");
  expect(stderr).toMatch(/ {2}.+ ignores its cancellation\n/);
  expect(stderr).toContain("  stopped by SIGTERM\n");
});

test("heddle run ends quietly when a module prints by itself and its reader goes away", async () => {
  const module = bench.file(
    "printing.mjs",
    `export default { key: (n) => n % 10, message: (n) => console.log("x".repeat(100)) };`,
  );
  const line = `{ $HEDDLE run ${module} --input numbers.ndjson; echo "status $?" >&2; } | head -n 2`;
  expect((await bench.shell(line)).stderr).toBe("status 0\n");
});

test("heddle run says why its input broke off, and ends with 1", async () => {
  const module = bench.file(
    "breaking.mjs",
    `function* two() { yield 1; throw new Error("the wire was cut"); }
    export default { source: two(), key: () => 1, message() {} };`,
  );
  const { status, stderr } = await bench.run(["run", module]);
  expect(stderr).toContain("heddle: the wire was cut\n");
  expect(stderr).toContain("  1 messages handled".replace("messages", "message"));
  expect(stderr).toContain("  0 pending\n");
  expect(status).toBe(1);
});

bench.file("broken.mjs", "export default {\n  a: 1\n  b: 2 };");
bench.file("imports-broken.mjs", `import "./broken.mjs";`);
bench.file("throws.mjs", `const a = 1;\nthrow new Error("no database\\nat all");`);
bench.file("imports.mjs", `import "./nothing.mjs";`);
bench.file("imports-package.mjs", `import "no-such-package-at-all";`);
bench.file("imports-heddle.mjs", `import { defineSessions } from "heddle/session";`);
bench.file("bad-name.mjs", `import { nothing } from "node:fs";`);
bench.file("enum.ts", "enum A { B }\nexport default A;");
bench.file("text.txt", "hello");
bench.file("no-default.mjs", "export const a = 1;");
bench.file("function.mjs", "export default function () {}");
bench.file("number.mjs", "export default 1;");
bench.file("no-handler.mjs", "export default { key: () => 1 };");
bench.file("bad-parse.mjs", "export default { key: () => 1, message() {}, parse: 1 };");
bench.file("no-key.mjs", "export default { message() {} };");
bench.file("unknown.mjs", "export default { key: () => 1, message() {}, idleMS: 1 };");
bench.file("bad-option.mjs", "export default { key: () => 1, message() {}, inboxSize: 0 };");
bench.file(
  "two-sinks.mjs",
  "export default { key: () => 1, message() {}, output() {}, sink: {} };",
);
bench.file("own-output.mjs", "export default { key: () => 1, message() {}, output() {} };");
bench.file(
  "defined.mjs",
  `import { defineSessions } from ${JSON.stringify(new URL("../../dist/doors/session.js", import.meta.url).href)};
  export default defineSessions({ key: () => 1, message() {}, idleMs: -1 });`,
);
linkSync(bench.path(good), bench.path("good-too.ndjson"));

const how = "write export default defineSessions({ key, session or message, … })";

test.for([
  [["run"], "Cannot run: MODULE is missing; see heddle run --help"],
  [
    ["run", visits, "--limt", "3"],
    "Cannot use --limt: there is no such option (did you mean --limit?); see heddle run --help",
  ],
  [["rnu", visits], "Cannot rnu: there is no such command (did you mean run?); see heddle --help"],
  [[], "Cannot tell what to do: no command was given; see heddle --help"],
  [
    ["run", visits, "extra"],
    "Cannot take so many arguments: expected 1 argument but got 2; see heddle run --help",
  ],
  [
    ["run", visits, "--limit", "0"],
    "Cannot use --limit 0: it must be a whole number >= 1; see heddle run --help",
  ],
  [
    ["run", visits, "--input"],
    "Cannot use --input <FILE>: its argument is missing; see heddle run --help",
  ],
  [["run", "missing.mjs"], "Cannot load missing.mjs: there is no such file"],
  [["run", "."], "Cannot load .: it is not a file"],
  [
    ["run", "text.txt"],
    `Cannot load text.txt: it is neither JavaScript nor TypeScript (its name ends in ".txt")`,
  ],
  [["run", "broken.mjs"], "Cannot load broken.mjs: Unexpected identifier 'b' (broken.mjs:3)"],
  [
    ["run", "imports-broken.mjs"],
    "Cannot load imports-broken.mjs: Unexpected identifier 'b' (broken.mjs:3)",
  ],
  [
    ["run", "bad-name.mjs"],
    "Cannot load bad-name.mjs: The requested module 'node:fs' does not provide an export named 'nothing' (bad-name.mjs:1)",
  ],
  [["run", "throws.mjs"], `Cannot load throws.mjs: it threw "no database" (throws.mjs:2)`],
  [
    ["run", "imports.mjs"],
    "Cannot load imports.mjs: it imports nothing.mjs, which cannot be found",
  ],
  [
    ["run", "imports-package.mjs"],
    "Cannot load imports-package.mjs: it imports no-such-package-at-all, which cannot be found",
  ],
  [
    ["run", "imports-heddle.mjs"],
    "Cannot load imports-heddle.mjs: it imports heddle, which is not installed there; run npm install heddle next to it",
  ],
  [["run", "no-default.mjs"], `Cannot run no-default.mjs: it has no default export; ${how}`],
  [["run", "function.mjs"], `Cannot run function.mjs: its default export is a function; ${how}`],
  [
    ["run", "number.mjs"],
    `Cannot run number.mjs: its default export is no definition of sessions; ${how}`,
  ],
  [
    ["run", "no-handler.mjs"],
    "Cannot run no-handler.mjs: its default export has no handler: neither session nor message",
  ],
  [["run", "bad-parse.mjs"], "Cannot run bad-parse.mjs: its parse is not a function"],
  [["run", "no-key.mjs"], "Cannot run no-key.mjs: it has no key, and lines have none of their own"],
  [
    ["run", "bad-option.mjs"],
    "Cannot run bad-option.mjs: inboxSize must be a whole number >= 1, current value is 0",
  ],
  [["run", "defined.mjs"], "Cannot run defined.mjs: idleMs must be >= 0, current value is -1"],
  [
    ["run", "two-sinks.mjs"],
    "Cannot run two-sinks.mjs: it has both output and sink: only one of them can take what the handlers return",
  ],
  [
    ["run", "own-output.mjs", "--output", "o"],
    "Cannot use --output o: own-output.mjs has its own output",
  ],
  [
    ["run", visits, "--input", "missing.ndjson"],
    "Cannot read missing.ndjson: there is no such file",
  ],
  [["run", visits, "--input", "."], "Cannot read .: it is a directory"],
  [
    ["run", visits, "--input", good, "--output", good],
    `Cannot use --output ${good}: it is the same file as --input ${good}`,
  ],
  [
    ["run", visits, "--input", good, "--output", "good-too.ndjson"],
    `Cannot use --output good-too.ndjson: it is the same file as --input ${good}`,
  ],
  [
    ["run", visits, "--input", good, "--output", visits],
    `Cannot use --output ${visits}: it is the same file as ${visits}`,
  ],
  [
    ["run", visits, "--input", good, "--dead-letters", good],
    `Cannot use --dead-letters ${good}: it is the same file as --input ${good}`,
  ],
  [
    ["run", visits, "--input", good, "--dead-letters", "-"],
    "Cannot use --dead-letters -: name a file",
  ],
  [
    ["run", visits, "--input", good, "--output", "no/where"],
    "Cannot write to no/where: there is no such file",
  ],
  [["run", visits, "--input", good, "--output", "."], "Cannot write to .: it is a directory"],
] as const)("heddle %j says in one line what is wrong and ends with 2", async ([args, line]) => {
  const before = readFileSync(bench.path(good), "utf8");
  const { status, stdout, stderr } = await bench.run(args);
  expect(stderr).toBe(`heddle: ${line}\n`);
  expect(stdout).toBe("");
  expect(status).toBe(2);
  expect(readFileSync(bench.path(good), "utf8")).toBe(before);
});

test("heddle run names an option that the router does not have", async () => {
  const { status, stderr } = await bench.run(["run", "unknown.mjs"]);
  expect(stderr).toMatch(/^heddle: Cannot run unknown.mjs: it has no option idleMS; .*\n$/);
  expect(status).toBe(2);
});

test("heddle run says what to do where Node does not strip types, or cannot", async () => {
  bench.file("typed.ts", "export default { key: (n: number) => n, message() {} };");
  const running = bench.start(["run", "typed.ts"], ["--no-experimental-strip-types"]);
  running.child.stdin.end();
  const { status, stderr } = await running.ended;
  expect(stderr).toBe(
    `heddle: Cannot load typed.ts: Node ${process.versions.node} does not run TypeScript; use Node 22.18 or newer, or compile it to JavaScript first\n`,
  );
  expect(status).toBe(2);
  const unsupported = await bench.run(["run", "enum.ts"]);
  expect(unsupported.stderr).toBe(
    "heddle: Cannot load enum.ts: TypeScript enum is not supported in strip-only mode (enum.ts:1); use syntax that can be erased, or compile it to JavaScript first\n",
  );
});

test("heddle run does not write over a file that is redirected to its standard input", async () => {
  writeFileSync(bench.path("same.ndjson"), `{"user":"ada"}\n`);
  const { status, stderr } = await bench.shell(
    `$HEDDLE run ${visits} --output same.ndjson < same.ndjson`,
  );
  expect(stderr).toBe(
    "heddle: Cannot use --output same.ndjson: it is the same file as standard input\n",
  );
  expect(status).toBe(2);
});

test("heddle demo --broken runs until it is stopped, and ends with its reader", async () => {
  const running = bench.start(["demo", "--broken"]);
  await running.says("is end");
  running.child.kill("SIGINT");
  const { status, stdout } = await running.ended;
  expect(stdout).toMatch(/^consumer recv /m);
  expect(stdout).toMatch(/^recv unid \[[0-9a-f]{32}\] is start$/m);
  expect(status).toBe(0);
  const line = `{ $HEDDLE demo --broken; echo "status $?" >&2; } | head -n 2`;
  expect((await bench.shell(line)).stderr).toBe("status 0\n");
});

test("heddle prints its version and its help on standard output", async () => {
  const version = await bench.run(["--version"]);
  expect(version.stdout).toMatch(/^\d+\.\d+\.\d+.*\n$/);
  expect(version.status).toBe(0);
  const help = await bench.run(["--help"]);
  expect(help.stdout).toContain("Usage: heddle [options] [command]");
  expect(help.stdout).toContain("run [options] <MODULE>");
  expect(help.status).toBe(0);
  const ofRun = await bench.run(["run", "--help"]);
  expect(ofRun.stdout).toContain("--dead-letters <FILE>");
  expect(ofRun.stdout).toContain("Exit status:");
  expect(ofRun.stderr).toBe("");
});

test("heddle is one line on a Node that is too old", async () => {
  // A module loaded first stands for the old version.
  const old = bench.file(
    "old.mjs",
    `Object.defineProperty(process.versions, "node", { value: "22.12.0" });`,
  );
  const running = bench.start(["--version"], ["--import", `./${old}`]);
  running.child.stdin.end();
  const { status, stderr } = await running.ended;
  expect(stderr).toBe("heddle: Cannot run on Node 22.12.0: it needs Node 22.13 or newer\n");
  expect(status).toBe(2);
});
