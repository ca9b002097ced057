import { expect, test } from "vitest";
import { floorErrors } from "./check-floors.ts";

const dependencies = new Set(["commander"]);

test("check-floors says which arrow is wrong and what the folder may import", () => {
  expect(floorErrors("src/sync/lock.ts", `import { x } from "../session/router.ts";`)).toEqual([
    "src/sync/lock.ts imports session/, and sync/ may import only: task",
  ]);
});

test.for([
  ["src/session/router.ts", `import { sleep } from "../task/sleep.ts";`],
  ["src/message/guard.ts", `import { FatalError } from "../task/errors.ts";`],
  ["src/broker/lines/source.ts", `import type { Source } from "../../message/source.ts";`],
  ["src/broker/lines/source.ts", `import { read } from "./read.ts";`],
  ["src/testing/source.ts", `export { memorySource } from "../broker/memory/index.ts";`],
  ["src/doors/heddle.ts", `export { start } from "../watch/start.ts";`],
  ["src/inspect/ui/page.ts", `import type { Wire } from "../wire.ts";`],
  ["src/watch/start.ts", `await import("heddle/inspect");`],
  ["src/cli/run.ts", `import { Command } from "commander"; await import("heddle/lines");`],
  ["src/task/clock.ts", `import { performance } from "node:perf_hooks";`],
  ["src/task/task.test.ts", `import { test } from "vitest"; import "../session/router.ts";`],
  [
    "src/sync/lock.ts",
    `/** @example import { x } from "../session/router.ts" */ const s = "import 'ws'";`,
  ],
] as const)("check-floors lets %s import what it may: %s", ([path, source]) => {
  expect(floorErrors(path, source, dependencies)).toEqual([]);
});

test.for([
  ["src/task/task.ts", `import "../sync/lock.ts";`, "sync/, and task/ may import only: itself"],
  [
    "src/message/guard.ts",
    `import type { Task } from "../task/task.ts";`,
    "task/task.ts, and message/ may import only: task/errors, task/clock",
  ],
  [
    "src/session/consume.ts",
    `export * from "../broker/memory/index.ts";`,
    "broker/memory/, and session/ may import only: message, sync, task",
  ],
  [
    "src/broker/lines/source.ts",
    `type T = import("../memory/source.ts").T;`,
    "broker/memory/, and broker/lines/ may import only: message, sync, task",
  ],
  [
    "src/testing/play.ts",
    `await import("../broker/lines/index.ts");`,
    "broker/lines/, and testing/ may import only: message, session, sync, task, watch, broker/memory",
  ],
  [
    "src/inspect/ui/page.ts",
    `import "../server.ts";`,
    "inspect/server.ts, and inspect/ui/ may import only: inspect/wire",
  ],
  [
    "src/broker/redis/client.ts",
    `import type { Redis } from "ioredis";`,
    "ioredis, and only cli/ may import packages",
  ],
  ["src/cli/run.ts", `import WebSocket from "ws";`, "ws, which is no dependency of the package"],
  [
    "src/session/router.ts",
    `await import("heddle/inspect");`,
    "heddle/inspect, and src/ imports its own files by relative path",
  ],
  [
    "src/cli/run.ts",
    `import { x } from "heddle/session";`,
    "heddle/session, and src/ imports its own files by relative path",
  ],
  [
    "src/cli/run.ts",
    `import "../../scripts/build.ts";`,
    "scripts/build.ts, which lies outside src/",
  ],
] as const)("check-floors refuses what %s must not import: %s", ([path, source, sentence]) => {
  expect(floorErrors(path, source, dependencies)).toEqual([`${path} imports ${sentence}`]);
});

test("check-floors knows every folder, and none that has no floor", () => {
  expect(floorErrors("src/helpers/misc.ts", "")).toEqual([
    "src/helpers/misc.ts stands in no folder that has a floor",
  ]);
});
