// Spec 261 to 264: the program's root, its signals, and what is left at its end.
import { AsyncLocalStorage } from "node:async_hooks";
import { expect, test } from "vitest";
import { InvalidStateError } from "./errors.ts";
import { gather } from "./gather.ts";
import { allTasks } from "./live.ts";
import { run } from "./run.ts";
import { checkpoint, sleep, sleepForever } from "./sleep.ts";
import { createTask, currentTask } from "./task.ts";
import { runChild } from "./test-support/child.ts";
import { endOf, errorOf } from "./test-support/settle.ts";

const processes = 30_000;

test("261. run gives what main returns and throws what it throws", async () => {
  expect(await run(async () => currentTask()?.name)).toBe("main");
  const error = new Error("mine");
  expect(await errorOf(run(() => Promise.reject(error)))).toBe(error);
  await expect(run(5 as never)).rejects.toThrow(TypeError);
  expect(process.listenerCount("SIGINT") + process.listenerCount("SIGTERM")).toBe(
    await run(() => process.listenerCount("SIGINT") + process.listenerCount("SIGTERM") - 2),
  );
});

test("261. run under another run is refused, also from a task below it", async () => {
  await run(async () => {
    expect(await errorOf(run(async () => 1))).toBeInstanceOf(InvalidStateError);
    expect(await errorOf(createTask(() => run(async () => 1)))).toBeInstanceOf(InvalidStateError);
  });
  expect(await run(async () => "after")).toBe("after");
  expect(await createTask(() => run(async () => "in a task"))).toBe("in a task");
});

test("262. what is left of what was made under it is cancelled and waited for", async () => {
  const before = allTasks();
  const seen: string[] = [];
  const outside = createTask(() => sleepForever());
  await run(async () => {
    createTask(async () => {
      try {
        await sleepForever();
      } finally {
        await checkpoint();
        // Made while the others end: ended as well.
        createTask(() => sleepForever());
        seen.push("cleaned up");
      }
    });
    createTask(async () => createTask(() => sleepForever()));
    await checkpoint();
    seen.push("main");
  });
  expect(seen).toEqual(["main", "cleaned up"]);
  expect([outside.cancelling(), outside.done()]).toEqual([0, false]);
  outside.cancel();
  await endOf(outside);
  expect(allTasks()).toEqual(before);
});

test("262. a task that is reached on the way, by whoever awaits it, is asked once", async () => {
  const counts: number[] = [];
  await run(async () => {
    const work = async (): Promise<void> => {
      try {
        await sleepForever();
      } finally {
        counts.push(currentTask()?.cancelling() ?? -1);
      }
    };
    createTask(() => gather([work, work]));
    await sleep(1);
  });
  expect(counts).toEqual([1, 1]);
});

test(
  "262. their errors are reported and are not the caller's",
  async () => {
    const { stdout, stderr, status } = await runChild(`
    import { checkpoint, createTask, run, sleepForever } from "heddle";
    process.on("warning", (warning) => console.log(warning.name, warning.detail.split("\\n")[0]));
    console.log(await run(async () => {
      createTask(async () => {
        try { await sleepForever(); } catch { throw new Error("clean-up failed"); }
      });
      await checkpoint();
      return "value";
    }));
    await checkpoint();
  `);
    expect(stdout.split("\n").toSorted()).toEqual([
      "",
      "HeddleWarning Error: clean-up failed",
      "value",
    ]);
    expect(stderr).toContain("failed when run() ended it");
    expect(status).toBe(0);
  },
  processes,
);

test(
  "262. a failure that main did not read is an unhandled rejection: run owns no task",
  async () => {
    const { stderr, status } = await runChild(`
    import { createTask, run, sleep } from "heddle";
    await run(async () => {
      createTask(() => Promise.reject(new Error("nobody reads me")));
      await sleep(1_000);
    });
  `);
    expect(status).toBe(1);
    expect(stderr).toContain("nobody reads me");
  },
  processes,
);

test("263. runs one after the other share the caller's context", async () => {
  const storage = new AsyncLocalStorage<string>();
  const seen = await storage.run("caller's", async () => [
    await run(async () => storage.getStore()),
    await run(async () => storage.getStore()),
  ]);
  expect(seen).toEqual(["caller's", "caller's"]);
});

const program = (body: string): string => `
  import { CancelledError, createTask, run, sleep, sleepForever } from "heddle";
  ${body}
  console.log("after run", result);
`;

for (const [signal, status] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(
    `264. ${signal} cancels main: an ordinary end with status ${status}, without a stack trace`,
    async () => {
      const end = await runChild(
        program(`const result = await run(async () => {
        createTask(async () => { try { await sleepForever(); } finally { console.log("child cleaned up"); } });
        console.log("ready");
        try { await sleepForever(); } catch (error) { console.log(error.name, error.reason); throw error; }
      });`),
        (line, kill) => line === "ready" && kill(signal),
      );
      expect(end.stdout).toBe(
        `ready\nCancelledError ${signal}\nchild cleaned up\nafter run undefined\n`,
      );
      expect(end.stderr).toBe("");
      expect([end.status, end.signal]).toEqual([status, null]);
    },
    processes,
  );

  test(
    `264. a second ${signal} ends the process at once with status ${status}`,
    async () => {
      const end = await runChild(
        program(`const result = await run(async () => {
        console.log("ready");
        for (;;) { try { await sleepForever(); } catch { console.log("ignored"); } }
      });`),
        (line, kill) => kill(signal),
      );
      expect(end.stdout).toBe("ready\nignored\n");
      expect([end.status, end.signal, end.stderr]).toEqual([status, null, ""]);
    },
    processes,
  );
}

test(
  "264. a second signal of the other kind counts as well, with its own status",
  async () => {
    const end = await runChild(
      program(`const result = await run(async () => {
      console.log("ready");
      for (;;) { try { await sleepForever(); } catch { console.log("ignored"); } }
    });`),
      (line, kill) => kill(line === "ready" ? "SIGINT" : "SIGTERM"),
    );
    expect(end.status).toBe(143);
  },
  processes,
);

test(
  "264. main that returns in spite of the signal gives its value, and the status is 0",
  async () => {
    const end = await runChild(
      program(`const result = await run(async () => {
      console.log("ready");
      try { await sleepForever(); } catch { return "in spite"; }
    });`),
      (line, kill) => line === "ready" && kill("SIGTERM"),
    );
    expect([end.stdout, end.status, end.stderr]).toEqual(["ready\nafter run in spite\n", 0, ""]);
  },
  processes,
);

test(
  "264. main that was cancelled by others too throws the CancelledError",
  async () => {
    const end = await runChild(
      program(`const result = await run(async (main) => {
      console.log("ready");
      try { await sleepForever(); } finally { main.cancel("by others"); }
    }).catch((error) => error.name);`),
      (line, kill) => line === "ready" && kill("SIGINT"),
    );
    expect([end.stdout, end.status]).toEqual(["ready\nafter run CancelledError\n", 0]);
  },
  processes,
);

test(
  "264. main that fails on the signal throws its error",
  async () => {
    const end = await runChild(
      program(`const result = await run(async () => {
      console.log("ready");
      try { await sleepForever(); } catch { throw new Error("clean-up failed"); }
    });`),
      (line, kill) => line === "ready" && kill("SIGINT"),
    );
    expect(end.status).toBe(1);
    expect(end.stderr).toContain("clean-up failed");
  },
  processes,
);

test(
  "264. without signals the machine's own ending stays",
  async () => {
    const end = await runChild(
      program(
        `const result = await run(async () => { console.log("ready"); await sleep(20_000); }, { signals: false });`,
      ),
      (line, kill) => line === "ready" && kill("SIGTERM"),
    );
    expect([end.status, end.signal]).toEqual([null, "SIGTERM"]);
  },
  processes,
);
