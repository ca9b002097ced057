// Spec 172 to 202: tasks that end together.
import { AsyncLocalStorage } from "node:async_hooks";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { runVirtual } from "../testing/virtual-clock.ts";
import { CancelledError, FatalError, InvalidStateError, TaskGroupError } from "./errors.ts";
import { allTasks } from "./live.ts";
import { checkpoint, now, sleep, sleepForever } from "./sleep.ts";
import { createTask, currentTask, type Task } from "./task.ts";
import { type TaskGroup, taskGroup } from "./task-group.ts";
import { runChild } from "./test-support/child.ts";
import { endOf, errorOf, settle, turn } from "./test-support/settle.ts";

const boom = new Error("boom");
const failAfter =
  (ms: number, error: unknown = boom) =>
  async (): Promise<never> => {
    await sleep(ms);
    throw error;
  };

/** The errors of the group that `promise` fails with. */
async function errorsOf(promise: Promise<unknown>): Promise<unknown[]> {
  const error = await errorOf(promise);
  expect(error).toBeInstanceOf(TaskGroupError);
  return (error as TaskGroupError).errors;
}

test("172. leaving the block waits for all children", async () => {
  await runVirtual(async () => {
    const seen: string[] = [];
    const value = await taskGroup(async (group) => {
      group.createTask(async () => {
        await sleep(5);
        seen.push("five");
      });
      group.createTask(async () => {
        await sleep(10);
        seen.push("ten");
      });
      seen.push("body");
      return "value";
    });
    expect([value, seen, now()]).toEqual(["value", ["body", "five", "ten"], 10]);
  });
});

test("173. children may be added by children while the group is closing", async () => {
  await runVirtual(async () => {
    const seen: number[] = [];
    const spawn = (group: TaskGroup, left: number) => async (): Promise<void> => {
      await sleep(5);
      seen.push(left);
      if (left > 0) group.createTask(spawn(group, left - 1));
    };
    await taskGroup(async (group) => {
      group.createTask(spawn(group, 3));
    });
    expect([seen, now()]).toEqual([[3, 2, 1, 0], 20]);
  });
});

test("174. cancelling one child is no error; the others go on", async () => {
  await runVirtual(async () => {
    let other!: Task<string>;
    await taskGroup(async (group) => {
      const one = group.createTask(() => sleepForever());
      other = group.createTask(() => sleep(10, "other"));
      await sleep(1);
      one.cancel();
    });
    expect([other.result(), now()]).toEqual(["other", 10]);
  });
});

test("175. a child's error cancels its siblings; the block throws a group even for one error", async () => {
  await runVirtual(async () => {
    let sibling!: Task<unknown>;
    const errors = await errorsOf(
      taskGroup(async (group) => {
        sibling = group.createTask(async () => {
          try {
            await sleepForever();
          } finally {
            await sleep(10);
          }
        });
        group.createTask(failAfter(5));
      }),
    );
    expect(errors).toEqual([boom]);
    expect([sibling.cancelled(), now()]).toEqual([true, 15]);
  });
});

test("176. a child's error also interrupts the body, which sees a CancelledError", async () => {
  await runVirtual(async () => {
    let inside: unknown;
    const errors = await errorsOf(
      taskGroup(async (group) => {
        group.createTask(failAfter(5));
        inside = await errorOf(sleepForever());
        throw inside;
      }),
    );
    expect(inside).toBeInstanceOf(CancelledError);
    expect([errors, now()]).toEqual([[boom], 5]);
  });
});

test("177. that interruption is taken back: the count is 0 and the next wait works", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      await errorOf(
        taskGroup(async (group) => {
          group.createTask(failAfter(5));
          await sleepForever();
        }),
      );
      expect([own.cancelling(), own.outstanding]).toEqual([0, 0]);
      await sleep(5);
      // Also when the body was not waiting and never saw it.
      await errorOf(
        taskGroup(async (group) => {
          group.createTask(
            () => {
              throw boom;
            },
            { eager: true },
          );
        }),
      );
      expect([own.cancelling(), own.outstanding]).toEqual([0, 0]);
      await sleep(5);
      return now();
    });
    expect(await task).toBe(15);
  });
});

test("178. cancelled while it waits at the end: children cancelled and awaited, then a bare CancelledError", async () => {
  await runVirtual(async () => {
    let child!: Task<unknown>;
    const parent = createTask(() =>
      taskGroup(async (group) => {
        child = group.createTask(async () => {
          try {
            await sleepForever();
          } finally {
            await sleep(10);
          }
        });
      }),
    );
    await sleep(1);
    expect(String(parent)).toContain("waiting on taskGroup");
    parent.cancel("from outside");
    await sleep(1);
    expect([child.cancelling(), parent.done()]).toEqual([1, false]);
    expect(((await errorOf(parent)) as CancelledError).reason).toBe("from outside");
    expect([now(), child.cancelled(), parent.cancelled()]).toEqual([11, true, true]);
  });
});

test("179. cancelled in the body: the same, also without children", async () => {
  await runVirtual(async () => {
    for (const children of [0, 2]) {
      const tasks: Task<unknown>[] = [];
      const parent = createTask(() =>
        taskGroup(async (group) => {
          for (let n = 0; n < children; n++) tasks.push(group.createTask(() => sleepForever()));
          await sleepForever();
        }),
      );
      await sleep(1);
      parent.cancel("in the body");
      expect(((await errorOf(parent)) as CancelledError).reason).toBe("in the body");
      expect(parent.cancelled()).toBe(true);
      expect(tasks.every((task) => task.cancelled())).toBe(true);
    }
  });
});

test("180. cancelled, and children fail in their clean-up: the group of errors wins", async () => {
  await runVirtual(async () => {
    const parent = createTask(() =>
      taskGroup(async (group) => {
        group.createTask(async () => {
          await endOf(sleepForever());
          throw boom;
        });
        await sleepForever();
      }),
    );
    await sleep(1);
    parent.cancel();
    expect(await errorsOf(parent.wait())).toEqual([boom]);
    expect(parent.cancelled()).toBe(false);
  });
});

test("181. an error of the body cancels the children; the group holds it", async () => {
  await runVirtual(async () => {
    let child!: Task<unknown>;
    const errors = await errorsOf(
      taskGroup(async (group) => {
        child = group.createTask(() => sleepForever());
        await sleep(1);
        throw boom;
      }),
    );
    expect([errors, child.cancelled()]).toEqual([[boom], true]);
    const atOnce = taskGroup(() => {
      throw boom;
    });
    expect(await errorsOf(atOnce)).toEqual([boom]);
  });
});

test("182. a body that answers the interruption with its own error: both are in the group, its own last", async () => {
  await runVirtual(async () => {
    const mine = new Error("mine");
    const errors = await errorsOf(
      taskGroup(async (group) => {
        group.createTask(failAfter(5));
        await endOf(sleepForever());
        throw mine;
      }),
    );
    expect(errors).toEqual([boom, mine]);
  });
});

test("183. a body that answers a cancellation from outside with its own error: a group with that error", async () => {
  await runVirtual(async () => {
    const parent = createTask(() =>
      taskGroup(async () => {
        await endOf(sleepForever());
        throw boom;
      }),
    );
    await sleep(1);
    parent.cancel();
    expect(await errorsOf(parent.wait())).toEqual([boom]);
  });
});

test("184. nested groups nest their errors", async () => {
  await runVirtual(async () => {
    const other = new Error("other");
    const errors = await errorsOf(
      taskGroup(async (outer) => {
        outer.createTask(async () => {
          await endOf(sleepForever());
          throw other;
        });
        await taskGroup(async (inner) => {
          inner.createTask(failAfter(5));
        });
      }),
    );
    expect(errors[0]).toBe(other);
    expect((errors[1] as TaskGroupError).errors).toEqual([boom]);
  });
});

test("185. an outer child's failure ends an inner group, which adds nothing of its own", async () => {
  await runVirtual(async () => {
    let between: unknown;
    const errors = await errorsOf(
      taskGroup(async (outer) => {
        outer.createTask(failAfter(5));
        between = await errorOf(
          taskGroup(async (inner) => {
            inner.createTask(() => sleepForever());
            await sleepForever();
          }),
        );
        throw between;
      }),
    );
    expect(between).toBeInstanceOf(CancelledError);
    expect(errors).toEqual([boom]);
  });
});

test("186. a body that is slow to stop does not lose an error that comes meanwhile", async () => {
  await runVirtual(async () => {
    const parent = createTask(() =>
      taskGroup(async (group) => {
        group.createTask(failAfter(5));
        try {
          await sleepForever();
        } finally {
          await endOf(sleep(20));
        }
      }),
    );
    await sleep(1);
    parent.cancel();
    expect(await errorsOf(parent.wait())).toEqual([boom]);
    // The failure interrupted the clean-up, as any second request does.
    expect(now()).toBe(5);
  });
});

test("187. a FatalError is thrown bare, from the body and from a child", async () => {
  await runVirtual(async () => {
    const fatal = new FatalError("end of the program");
    let child!: Task<unknown>;
    const fromBody = taskGroup(async (group) => {
      child = group.createTask(() => sleepForever());
      throw fatal;
    });
    expect(await errorOf(fromBody)).toBe(fatal);
    expect(child.cancelled()).toBe(true);
    const fromChild = taskGroup(async (group) => {
      group.createTask(failAfter(5, fatal));
      await sleepForever();
    });
    expect(await errorOf(fromChild)).toBe(fatal);
    expect(currentTask()?.cancelling()).toBe(0);
  });
});

test("188. whatever else is thrown is grouped, be it no Error", async () => {
  await runVirtual(async () => {
    expect(await errorsOf(taskGroup(() => Promise.reject("text" as never)))).toEqual(["text"]);
  });
});

test("189. a child cannot be made after the end or after the cancelling began; its function is not called", async () => {
  await runVirtual(async () => {
    let called = false;
    const work = (): void => {
      called = true;
    };
    let kept!: TaskGroup;
    await errorOf(
      taskGroup(async (group) => {
        kept = group;
        group.createTask(failAfter(1));
        await endOf(sleepForever());
        expect(() => group.createTask(work)).toThrow(InvalidStateError);
        expect(() => group.createTask(work)).toThrow("is being cancelled");
      }),
    );
    const before = allTasks().length;
    expect(() => kept.createTask(work)).toThrow(InvalidStateError);
    expect(() => kept.createTask(work)).toThrow("has ended");
    await settle();
    expect([called, allTasks().length]).toEqual([false, before]);
    await taskGroup((group) => {
      expect(() => group.createTask(Promise.resolve() as never)).toThrow(TypeError);
      expect(group.size).toBe(0);
    });
  });
});

test("190. outside any task the body runs in a new root task", async () => {
  expect(currentTask()).toBeUndefined();
  const names = await taskGroup(async (group) => {
    const child = group.createTask(async () => currentTask()?.name, { name: "child" });
    return [currentTask()?.name, await child];
  });
  expect(names).toEqual(["taskGroup", "child"]);
});

test("191. inner and outer group fail together: after the inner one the count is 1, after the outer one 0", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      const outerErrors = await errorsOf(
        taskGroup(async (outer) => {
          const innerErrors = await errorsOf(
            taskGroup(async (inner) => {
              inner.createTask(failAfter(5, new RangeError("inner")));
              inner.createTask(async () => {
                await endOf(sleepForever());
                await sleep(5);
              });
              outer.createTask(failAfter(5, new TypeError("outer")));
            }),
          );
          expect(innerErrors.map(String)).toEqual(["RangeError: inner"]);
          expect(own.cancelling()).toBe(1);
          // The outer's interruption is still there, and hits the next wait.
          await checkpoint();
          expect.unreachable();
        }),
      );
      expect(outerErrors.map(String)).toEqual(["TypeError: outer"]);
      expect([own.cancelling(), own.outstanding]).toEqual([0, 0]);
      await sleep(1);
    });
    await task;
  });
});

test("192. an error and a cancellation together: the group is thrown, the cancellation hits the next wait", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      const errors = await errorsOf(
        taskGroup(async (group) => {
          group.createTask(failAfter(5));
          group.createTask(async () => {
            await endOf(sleepForever());
            await sleep(10);
          });
        }),
      );
      expect([errors, own.cancelling(), now()]).toEqual([[boom], 1, 15]);
      expect(((await errorOf(checkpoint())) as CancelledError).reason).toBe("from outside");
      await sleep(1);
      return "once";
    });
    await sleep(7);
    task.cancel("from outside");
    expect(await task).toBe("once");
  });
});

test("192. also when the cancellation came first and a child fails on it", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      const errors = await errorsOf(
        taskGroup(async (group) => {
          group.createTask(async () => {
            await endOf(sleepForever());
            throw boom;
          });
        }),
      );
      expect([errors, own.cancelling()]).toEqual([[boom], 1]);
      expect(((await errorOf(checkpoint())) as CancelledError).reason).toBe("from outside");
      await sleep(1);
      return "once";
    });
    await sleep(1);
    task.cancel("from outside");
    expect(await task).toBe("once");
  });
});

test("192. a request from outside that the group repeats, and that meets no further wait, came too late", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      own.cancel("seen and taken back");
      await endOf(checkpoint());
      own.uncancel();
      await errorsOf(
        taskGroup(async (group) => {
          group.createTask(async () => {
            await endOf(sleepForever());
            throw boom;
          });
        }),
      );
      return "value";
    });
    await sleep(1);
    task.cancel("from outside");
    expect(await task).toBe("value");
  });
});

test("193. finished children leave the group at once", async () => {
  await runVirtual(async () => {
    await taskGroup(async (group) => {
      for (let n = 0; n < 100; n++) {
        group.createTask(() => sleep(1));
        expect(group.size).toBe(1);
        await sleep(2);
        expect(group.size).toBe(0);
      }
    });
  });
});

test("194. children that keep making children are stopped by an abort", async () => {
  await runVirtual(async () => {
    let made = 0;
    const errors = await errorsOf(
      taskGroup(async (group) => {
        const spawn = async (): Promise<void> => {
          made++;
          await sleep(1);
          group.createTask(spawn);
          group.createTask(spawn);
        };
        group.createTask(spawn);
        await sleep(6);
        throw boom;
      }),
    );
    expect(errors[0]).toBeDefined();
    expect(errors.at(-1)).toBe(boom);
    const before = made;
    await sleep(10);
    expect(made).toBe(before);
  });
});

test("195. after the block the group keeps neither errors nor its parent", async () => {
  let group!: TaskGroup;
  const refs = await (async () => {
    const error = new Error("boom");
    const parent = createTask(async () => {
      await taskGroup(async (own) => {
        group = own;
        own.createTask(() => Promise.reject(error));
      });
    });
    await errorOf(parent);
    return [new WeakRef(error), new WeakRef(parent)];
  })();
  for (let n = 0; n < 30 && refs.some((ref) => ref.deref() !== undefined); n++) {
    await turn();
    globalThis.gc?.();
  }
  expect(refs.map((ref) => ref.deref())).toEqual([undefined, undefined]);
  expect(inspect(group)).toBe("<TaskGroup closed children=0>");
});

test("196. a child made inside an eager child that fails does not cancel the parent too early", async () => {
  await runVirtual(async () => {
    const seen: string[] = [];
    const errors = await errorsOf(
      taskGroup(async (group) => {
        group.createTask(
          () => {
            group.createTask(() => sleepForever(), { eager: true });
            throw boom;
          },
          { eager: true },
        );
        seen.push("the body goes on to its next wait");
        await checkpoint();
        seen.push("never");
      }),
    );
    expect(errors).toEqual([boom]);
    expect(seen).toEqual(["the body goes on to its next wait"]);
  });
});

test("197. name and context pass through to the child", async () => {
  const storage = new AsyncLocalStorage<string>();
  await taskGroup(async (group) => {
    const child = storage.run("here", () =>
      group.createTask(async () => storage.getStore(), { name: "named" }),
    );
    expect(child.name).toBe("named");
    expect(await child).toBe("here");
  });
});

test("199. group.cancel() ends body and children, and the block leaves without an error", async () => {
  await runVirtual(async () => {
    let child!: Task<unknown>;
    let kept!: TaskGroup;
    const task = createTask(async (own) => {
      const value = await taskGroup(async (group) => {
        kept = group;
        child = group.createTask(async () => {
          try {
            await sleepForever();
          } finally {
            await sleep(5);
          }
        });
        await sleep(1);
        group.cancel("enough");
        group.cancel();
        expect(String(group)).toBe("<TaskGroup cancelling children=1>");
        await sleepForever();
        return "never";
      });
      expect([value, own.cancelling(), own.outstanding]).toEqual([undefined, 0, 0]);
      kept.cancel();
      await sleep(1);
    });
    await task;
    expect([child.cancelled(), now()]).toEqual([true, 7]);
    const fromChild = await taskGroup(async (group) => {
      group.createTask(async () => {
        await sleep(1);
        group.cancel();
      });
      group.createTask(() => sleepForever());
      return "value";
    });
    expect(fromChild).toBe("value");
  });
});

test("200. a cancellation from outside after group.cancel() is not swallowed", async () => {
  for (const seen of [true, false]) {
    await runVirtual(async () => {
      const task = createTask(() =>
        taskGroup(async (group) => {
          group.createTask(async () => {
            await endOf(sleepForever());
            await endOf(sleep(5));
          });
          await sleep(1);
          group.cancel("from inside");
          if (seen) await sleepForever();
          else await new Promise<void>((resolve) => queueMicrotask(resolve));
        }),
      );
      await sleep(1);
      if (seen) await sleep(2);
      task.cancel("from outside");
      expect(((await errorOf(task)) as CancelledError).reason).toBe("from outside");
      expect([task.cancelled(), task.cancelling(), task.outstanding]).toEqual([true, 1, 0]);
    });
  }
});

test("201. an eager child that ends its own group is itself cancelled", async () => {
  await runVirtual(async () => {
    let child!: Task<unknown>;
    await taskGroup(async (group) => {
      child = group.createTask(
        async () => {
          group.cancel();
          await sleepForever();
        },
        { eager: true },
      );
    });
    expect(child.cancelled()).toBe(true);
  });
});

test("202. when a FatalError leaves, the other errors are reported, not lost", async () => {
  const { stdout, status } = await runChild(`
    import { FatalError, sleep, taskGroup } from "heddle";
    process.on("warning", (warning) => console.log(warning.name, warning.code, warning.detail.split("\\n")[0]));
    try {
      await taskGroup(async (group) => {
        group.createTask(async () => { throw new Error("also failed"); });
        group.createTask(async () => { await sleep(1).catch(() => {}); throw new FatalError("the end"); });
      });
    } catch (error) { console.log(error.name, error.message); }
    await sleep(1);
  `);
  expect(stdout).toBe("FatalError the end\nHeddleWarning HEDDLE_UNREAD Error: also failed\n");
  expect(status).toBe(0);
});

test("taskGroup with a signal ends body and children and throws the reason", async () => {
  await runVirtual(async () => {
    const controller = new AbortController();
    const { signal } = controller;
    let child!: Task<unknown>;
    const ended = errorOf(
      taskGroup(
        async (group) => {
          child = group.createTask(() => sleepForever());
          await sleepForever();
        },
        { signal },
      ),
    );
    await sleep(1);
    controller.abort(boom);
    expect(await ended).toBe(boom);
    expect([child.cancelled(), currentTask()?.cancelling()]).toEqual([true, 0]);
    let called = false;
    const refused = taskGroup(() => (called = true), { signal });
    expect([await errorOf(refused), called]).toEqual([boom, false]);
    await checkpoint();
  });
});

test("taskGroup refuses what is no function", async () => {
  await expect(taskGroup(Promise.resolve() as never)).rejects.toThrow(/pass the function itself/);
});

test("a child that waits for its parent ends when the parent is cancelled", async () => {
  await runVirtual(async () => {
    let child!: Task<unknown>;
    const parent: Task<unknown> = createTask(() =>
      taskGroup(async (group) => {
        child = group.createTask(() => parent);
      }),
    );
    await sleep(1);
    parent.cancel();
    await errorOf(parent);
    expect([child.cancelled(), parent.cancelled(), parent.cancelling()]).toEqual([true, true, 1]);
  });
});

test("TaskGroupError says what failed first and how many more", async () => {
  const error = (await errorOf(
    taskGroup((group) => {
      group.createTask(() => Promise.reject(new RangeError("first")));
      throw boom;
    }),
  )) as TaskGroupError;
  expect(error.message).toBe("Cannot finish the group: Error: boom");
  expect(error.code).toBe("HEDDLE_TASK_GROUP");
  expect(error).toBeInstanceOf(AggregateError);
});
