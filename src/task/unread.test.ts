// Spec 27 to 33 and D8: failures that nobody reads, each in a process of its own.
import { expect, test } from "vitest";
import { runChild } from "./test-support/child.ts";

const watching = `
  process.on("unhandledRejection", (error) => console.log("unhandled", error.message));
  process.on("rejectionHandled", () => console.log("handled later"));
  const turn = () => new Promise((resolve) => setImmediate(resolve));
`;

async function linesOf(body: string, names = "createTask"): Promise<string[]> {
  const { stdout, stderr } = await runChild(
    `import { ${names} } from "heddle";\n${watching}\n${body}`,
  );
  expect(stderr).toBe("");
  return stdout.trim() === "" ? [] : stdout.trim().split("\n");
}

const failing = `createTask(() => Promise.reject(new Error("boom")))`;

test("27. a failure that nobody reads is an unhandled rejection, once", async () => {
  expect(await linesOf(`${failing}; await turn(); await turn();`)).toEqual(["unhandled boom"]);
});

test("27. left alone it ends the process with the error", async () => {
  const { status, stderr } = await runChild(`import { createTask } from "heddle"; ${failing};`);
  expect(status).toBe(1);
  expect(stderr).toContain("Error: boom");
});

test("27. a later await emits rejectionHandled", async () => {
  const body = `const task = ${failing}; await turn();
    try { await task; } catch (error) { console.log("caught", error.message); } await turn();`;
  expect((await linesOf(body)).toSorted()).toEqual([
    "caught boom",
    "handled later",
    "unhandled boom",
  ]);
});

test("28. 29. reading exception() or result() before the microtasks have run silences it", async () => {
  for (const read of ["task.exception()", "try { task.result(); } catch {}"]) {
    const body = `const task = createTask(() => { throw new Error("boom"); }, { eager: true }); ${read}; await turn();`;
    expect(await linesOf(body)).toEqual([]);
  }
});

test("30. dropped pending tasks and unread successes are silent", async () => {
  const body = `createTask(async () => 1); createTask(() => new Promise(() => {})); await turn();`;
  expect(await linesOf(body)).toEqual([]);
});

test("30. a cancelled task is never unhandled", async () => {
  const body = `const task = createTask(() => sleepForever()); await turn(); task.cancel(); await turn();`;
  expect(await linesOf(body, "createTask, sleepForever")).toEqual([]);
});

test("27. whatever is attached at that moment handles the failure", async () => {
  const attached = [
    "task.then(undefined, () => {})",
    "task.addDoneCallback(() => {})",
    "gather([task]).catch(() => {})",
    "wait([task])",
    "waitFor(task, 1000).catch(() => {})",
    "shield(task).catch(() => {})",
    "asCompleted([task])",
    "taskGroup(async (group) => { await task.then(undefined, () => {}); })",
  ];
  const names = "asCompleted, createTask, gather, shield, taskGroup, wait, waitFor";
  const bodies = attached.map((attach) => `{ const task = ${failing}; ${attach}; await turn(); }`);
  expect(await linesOf(bodies.join("\n"), names)).toEqual([]);
  // Failed already, in this very step.
  const failed = `createTask(() => { throw new Error("boom"); }, { eager: true })`;
  const late = attached.map((attach) => `{ const task = ${failed}; ${attach}; await turn(); }`);
  expect(await linesOf(late.join("\n"), names)).toEqual([]);
  const inGroup = `await taskGroup(async (group) => {
    group.createTask(() => Promise.reject(new Error("boom")));
  }).catch((error) => console.log(error.name)); await turn();`;
  expect(await linesOf(inGroup, names)).toEqual(["TaskGroupError"]);
}, 30_000);

test("33. the rejection is reported in the failing task's context", async () => {
  const { stdout } = await runChild(`
    import { AsyncLocalStorage } from "node:async_hooks";
    import { createTask } from "heddle";
    const storage = new AsyncLocalStorage();
    process.on("unhandledRejection", (error) => console.log(error.message, storage.getStore()));
    storage.run("its own", () => void Promise.reject(new Error("a promise in")));
    storage.run("its own", () => createTask(() => Promise.reject(new Error("a task in"))));
  `);
  // Early versions of Node 22 report every rejection outside any context.
  const [, context] = /^a promise in (.*)$/m.exec(stdout) ?? [];
  expect(stdout).toBe(`a promise in ${context}\na task in ${context}\n`);
  if (Number(process.versions.node.split(".")[0]) >= 24) expect(context).toBe("its own");
});
