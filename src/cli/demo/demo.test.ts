import { describe, expect, test } from "vitest";
import { createTask } from "../../task/task.ts";
import { sleep } from "../../task/sleep.ts";
import { runVirtual } from "../../testing/virtual-clock.ts";
import * as demo from "../demo.ts";
import { Bench } from "../test-support/command.ts";
import * as broken from "./broken.ts";
import * as mended from "./mended.ts";
import * as routed from "./routed.ts";
import { makeUnid } from "./producer.ts";
import type { DemoOutcome } from "./program.ts";

type Run = (options: demo.DemoRun) => Promise<DemoOutcome>;

// A call every 0.2 s, the first at once.
const callsIn = (seconds: number): number => seconds * 5;

/** Runs a program on a clock of its own; what it prints has `U1`, `U2` … for the ids. */
async function play(
  run: Run,
  seconds: number,
): Promise<{ outcome: DemoOutcome; said: string[]; status: string[] }> {
  const printed: string[] = [];
  const { signal } = new AbortController();
  const outcome = await runVirtual(() =>
    run({ signal, seconds, print: (line) => printed.push(line) }),
  );
  const ids = new Map<string, string>();
  const named = printed.map((line) =>
    line.replace(/\b[0-9a-f]{32}\b/, (id) => {
      if (!ids.has(id)) ids.set(id, `U${ids.size + 1}`);
      return ids.get(id)!;
    }),
  );
  return {
    outcome,
    said: named.filter((line) => !line.startsWith("--")),
    status: named.filter((line) => line.startsWith("--")),
  };
}

const each = [
  { name: "broken", run: broken.run, left: callsIn(3), lastLine: undefined },
  { name: "mended", run: mended.run, left: 0, lastLine: "unid [U1] cancelled success" },
  { name: "routed", run: routed.run, left: 0, lastLine: undefined },
];

describe.each(each)("$name", ({ run, left, lastLine }) => {
  test("handles every call, and leaves as many tasks pending as it should", async () => {
    const { outcome, status } = await play(run, 3);
    expect(outcome).toEqual({ calls: callsIn(3), pending: left });
    expect(status.at(-1)).toBe(`-- stopped: calls handled: 15, tasks still pending: ${left}`);
  });

  test("prints the report's lines of each call in order", async () => {
    const { said } = await play(run, 1);
    const ofFirst = said.filter((line) => /\bU1\b/.test(line));
    expect(ofFirst.toSorted()).toEqual(
      [
        'consumer recv {"unid":"U1","msg":"start"}',
        'consumer recv {"unid":"U1","msg":"end"}',
        "recv unid [U1] is start",
        "recv unid [U1] is end",
        ...(lastLine === undefined ? [] : [lastLine]),
      ].toSorted(),
    );
    const places = [
      'consumer recv {"unid":"U1","msg":"start"}',
      "recv unid [U1] is start",
      "recv unid [U1] is end",
      ...(lastLine === undefined ? [] : [lastLine]),
    ].map((line) => said.indexOf(line));
    expect(places).toEqual(places.toSorted((one, other) => one - other));
    expect(said).toHaveLength(callsIn(1) * ofFirst.length);
  });

  test("stops when its signal is aborted, before it begins too", async () => {
    const controller = new AbortController();
    const outcome = await runVirtual(async () => {
      const running = createTask(() =>
        run({ signal: controller.signal, seconds: Infinity, print() {} }),
      );
      await sleep(1_100);
      controller.abort();
      return await running;
    });
    expect(outcome).toEqual({ calls: 6, pending: left === 0 ? 0 : 6 });
    const aborted = await runVirtual(() =>
      run({ signal: AbortSignal.abort(), seconds: Infinity, print() {} }),
    );
    expect(aborted).toEqual({ calls: 0, pending: 0 });
  });
});

test("broken has a task more alive with every call, mended and routed have not", async () => {
  const alive = async (run: Run): Promise<number[]> => {
    const { status } = await play(run, 3);
    return status.slice(0, -1).map((line) => Number(/tasks alive: (\d+)/.exec(line)?.[1]));
  };
  // What goes on: the program, and by hand its producer and its consumer too.
  expect(await alive(broken.run)).toEqual([8, 13, 18]);
  expect(await alive(mended.run)).toEqual([3, 3, 3]);
  expect(await alive(routed.run)).toEqual([1, 1, 1]);
});

test("routed is a third as long as mended", () => {
  expect(demo.linesOfCode("routed.ts") * 3).toBeLessThanOrEqual(demo.linesOfCode("mended.ts"));
});

test("makeUnid gives a version 1 UUID in reverse order, never the same twice", async () => {
  const ids = await runVirtual(() => Array.from({ length: 1_000 }, () => makeUnid()));
  expect(new Set(ids).size).toBe(1_000);
  for (const id of ids) {
    // node, clock sequence, version and high time, middle time, low time
    expect(id).toMatch(/^[0-9a-f]{12}[89ab][0-9a-f]{3}1[0-9a-f]{3}[0-9a-f]{4}[0-9a-f]{8}$/);
  }
  const [, high = "", middle = "", low = ""] = /^.{16}1(.{3})(.{4})(.{8})$/.exec(makeUnid()) ?? [];
  const ms = Number((BigInt(`0x${high}${middle}${low}`) - 0x01b21dd213814000n) / 10_000n);
  expect(new Date(ms).getUTCFullYear()).toBeGreaterThanOrEqual(2024);
});

test("play runs one program after the other and compares them", async () => {
  const printed: string[] = [];
  const { signal } = new AbortController();
  const programs = [demo.broken, demo.mended, demo.routed];
  await runVirtual(() =>
    demo.play(programs, { signal, seconds: 2, print: (line) => printed.push(line) }),
  );
  expect(printed.filter((line) => /^\d\. /.test(line))).toEqual(programs.map(({ title }) => title));
  const table = printed.at(-1)!.trim().split("\n");
  expect(table[0]).toMatch(/^ *calls handled +tasks left pending +lines of code$/);
  expect(table.slice(1, 4).map((line) => line.split(/ {3,}/))).toEqual(
    programs.map(({ title, file }, n) =>
      [title.split(":")[0], 10, n === 0 ? 10 : 0, demo.linesOfCode(file)].map(String),
    ),
  );
});

test(
  "heddle demo --broken goes on until it is stopped, and says what is left",
  { timeout: 60_000 },
  async () => {
    const bench = new Bench();
    try {
      const running = bench.start(["demo", "--broken"]);
      await running.says("is end");
      running.child.kill("SIGINT");
      const { status, stdout, stderr } = await running.ended;
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(stdout).toMatch(/\n-- stopped: calls handled: (\d+), tasks still pending: \1\n$/);
    } finally {
      bench.remove();
    }
  },
);
