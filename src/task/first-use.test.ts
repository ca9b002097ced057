// Where a process uses a context for the first time: in a process of its own,
// because here the test runner may have been first.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = `
  import { createTask, currentTask, sleep } from "heddle";
  const task = createTask(() => sleep(5));
  for (let turn = 0; turn < 10; turn++) await undefined;
  const here = currentTask();
  setImmediate(() => console.log(String(here), String(currentTask())));
  await task;
`;

test("The first task of a process stays in its own scope", { timeout: 30_000 }, () => {
  const said = execFileSync(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    encoding: "utf8",
    env: { ...process.env, NODE_OPTIONS: "" },
  });
  expect(said).toBe("undefined undefined\n");
});
