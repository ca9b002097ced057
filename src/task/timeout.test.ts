// Spec 149 to 171: a deadline for a stretch of a task.
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { runVirtual } from "../testing/virtual-clock.ts";
import { cancellable } from "./cancellable.ts";
import { CancelledError, InvalidStateError, TaskGroupError, TimeoutError } from "./errors.ts";
import { allTasks } from "./live.ts";
import { checkpoint, now, sleep, sleepForever } from "./sleep.ts";
import { createTask, currentTask } from "./task.ts";
import { taskGroup } from "./task-group.ts";
import { endOf, errorOf, settle } from "./test-support/settle.ts";
import { timeout, timeoutAt, type TimeoutScope } from "./timeout.ts";
import { waitBehind } from "./wait.ts";

const ignore = (): void => {};

test("149. expiry turns the CancelledError into a TimeoutError at the scope's edge", async () => {
  await runVirtual(async () => {
    let scope!: TimeoutScope;
    const error = await errorOf(
      timeout(10, async (own) => {
        scope = own;
        await sleepForever();
      }),
    );
    expect(error).toBeInstanceOf(TimeoutError);
    expect((error as Error).message).toBe("Cannot finish in time: 10 ms were allowed");
    expect([now(), scope.expired]).toEqual([10, true]);
  });
});

test("149. the boundary: what takes as long as it may", async () => {
  await runVirtual(async () => {
    expect(await timeout(10, () => sleep(9.999, "in time"))).toBe("in time");
    // Both are due in one instant; the deadline was set first.
    expect(await errorOf(timeout(10, () => sleep(10, "late")))).toBeInstanceOf(TimeoutError);
  });
});

test("150. an absolute deadline works alike; `when` gives it", async () => {
  await runVirtual(async () => {
    await sleep(5);
    let when: number | null = null;
    const ended = timeoutAt(25, (scope) => {
      when = scope.when;
      return sleepForever();
    });
    expect(await errorOf(ended)).toBeInstanceOf(TimeoutError);
    expect([when, now()]).toEqual([25, 25]);
  });
});

test("151. not reached there is no error, `expired` is false and the deadline still readable", async () => {
  await runVirtual(async (clock) => {
    let scope!: TimeoutScope;
    const value = await timeout(10, async (own) => {
      scope = own;
      return sleep(3, "value");
    });
    expect([value, scope.expired, scope.when, clock.waiting]).toEqual(["value", false, 10, 0]);
  });
});

test("152. null and Infinity set no deadline", async () => {
  await runVirtual(async () => {
    for (const none of [null, Infinity]) {
      expect(await timeout(none, (scope) => sleep(1e9, scope.when))).toBeNull();
      expect(await timeoutAt(none, (scope) => sleep(1e9, scope.when))).toBeNull();
    }
  });
});

test("153. zero or a past deadline fires at the first wait, even if the body only lets others run", async () => {
  await runVirtual(async () => {
    await sleep(10);
    for (const body of [
      () => checkpoint(),
      () => sleep(0),
      () => sleep(100),
      () => sleepForever(),
    ]) {
      expect(await errorOf(timeout(0, body))).toBeInstanceOf(TimeoutError);
      expect(await errorOf(timeout(-1, body))).toBeInstanceOf(TimeoutError);
      expect(await errorOf(timeoutAt(3, body))).toBeInstanceOf(TimeoutError);
    }
    expect(now()).toBe(10);
    // Without a wait there is nowhere to throw it.
    expect(await timeout(0, async () => "value")).toBe("value");
    expect(currentTask()?.cancelling()).toBe(0);
    await checkpoint();
  });
});

test("154. the body sees an ordinary CancelledError", async () => {
  await runVirtual(async () => {
    let inside: unknown;
    const error = (await errorOf(
      timeout(5, async () => {
        inside = await errorOf(sleepForever());
        expect(currentTask()?.cancelling()).toBe(1);
        throw inside;
      }),
    )) as TimeoutError;
    expect(inside).toBeInstanceOf(CancelledError);
    expect((inside as CancelledError).task).toBe(currentTask());
    expect(error.cause).toBe(inside);
  });
});

test("155. an unrelated error passes unchanged and the scope is not expired", async () => {
  await runVirtual(async (clock) => {
    const mine = new Error("mine");
    let scope!: TimeoutScope;
    const error = await errorOf(
      timeout(5, async (own) => {
        scope = own;
        await sleep(1);
        throw mine;
      }),
    );
    expect(error).toBe(mine);
    expect([scope.expired, clock.waiting]).toEqual([false, 0]);
    expect("suppressed" in mine).toBe(false);
  });
});

test("156. an error of the clean-up after expiry passes as it is, with the TimeoutError suppressed", async () => {
  await runVirtual(async () => {
    const mine = new Error("clean-up failed");
    let scope!: TimeoutScope;
    const error = await errorOf(
      timeout(5, async (own) => {
        scope = own;
        await endOf(sleepForever());
        throw mine;
      }),
    );
    expect(error).toBe(mine);
    expect(scope.expired).toBe(true);
    expect((error as { suppressed?: unknown }).suppressed).toBeInstanceOf(TimeoutError);
    expect(currentTask()?.cancelling()).toBe(0);
    const frozen = Object.freeze(new Error("frozen"));
    const body = async (): Promise<never> => {
      await endOf(sleepForever());
      throw frozen;
    };
    expect(await errorOf(timeout(5, body))).toBe(frozen);
  });
});

test("157. the TimeoutError's cause is the CancelledError, also one that was wrapped on the way", async () => {
  await runVirtual(async () => {
    let inside: unknown;
    const error = (await errorOf(
      timeout(5, async () => {
        inside = await errorOf(sleepForever());
        throw new Error("while reading", { cause: inside });
      }),
    )) as TimeoutError;
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error.cause).toBe(inside);
    const aborted = timeout(5, async () => {
      await endOf(sleepForever());
      throw new DOMException("gone", "AbortError");
    });
    expect(await errorOf(aborted)).toBeInstanceOf(TimeoutError);
  });
});

test("158. of two scopes with one deadline the outermost converts, and both report that they expired", async () => {
  await runVirtual(async (clock) => {
    const scopes: TimeoutScope[] = [];
    let between: unknown;
    const error = await errorOf(
      timeoutAt(10, async (outer) => {
        scopes.push(outer);
        between = await errorOf(
          timeoutAt(10, async (inner) => {
            scopes.push(inner);
            await sleepForever();
          }),
        );
        throw between;
      }),
    );
    expect(between).toBeInstanceOf(CancelledError);
    expect(error).toBeInstanceOf(TimeoutError);
    expect(scopes.map((scope) => scope.expired)).toEqual([true, true]);
    expect([currentTask()?.cancelling(), clock.waiting]).toEqual([0, 0]);
  });
});

test("159. an outer expiry inside a longer inner scope is a TimeoutError only at the outer", async () => {
  await runVirtual(async () => {
    let innerScope!: TimeoutScope;
    let between: unknown;
    const error = await errorOf(
      timeout(10, async () => {
        between = await errorOf(
          timeout(20, async (inner) => {
            innerScope = inner;
            await sleepForever();
          }),
        );
        throw between;
      }),
    );
    expect(between).toBeInstanceOf(CancelledError);
    expect(error).toBeInstanceOf(TimeoutError);
    expect([now(), innerScope.expired]).toEqual([10, false]);
  });
});

test("160. after an inner TimeoutError was handled, an outer that has expired interrupts the next wait", async () => {
  await runVirtual(async (clock) => {
    const error = await errorOf(
      timeout(10, async () => {
        expect(await errorOf(timeout(5, () => sleepForever()))).toBeInstanceOf(TimeoutError);
        // Busy beyond the outer deadline: the time passes, and nothing of ours waits.
        await clock.advance(20);
        await checkpoint();
        expect.unreachable();
      }),
    );
    expect(error).toBeInstanceOf(TimeoutError);
  });
});

test("161. a cancellation from outside before expiry stays a CancelledError", async () => {
  await runVirtual(async (clock) => {
    let scope!: TimeoutScope;
    const task = createTask(() =>
      timeout(10, async (own) => {
        scope = own;
        await sleepForever();
      }),
    );
    await sleep(5);
    task.cancel("from outside");
    expect(((await errorOf(task)) as CancelledError).reason).toBe("from outside");
    expect([task.cancelled(), scope.expired, clock.waiting]).toEqual([true, false, 0]);
  });
});

test("162. of an outside cancellation and an expiry the cancellation wins, in either order", async () => {
  for (const first of ["outside", "expiry"]) {
    await runVirtual(async () => {
      let scope!: TimeoutScope;
      const task = createTask(() =>
        timeout(10, async (own) => {
          scope = own;
          try {
            await sleepForever();
          } finally {
            await endOf(sleep(20));
          }
        }),
      );
      await sleep(first === "outside" ? 5 : 15);
      task.cancel("from outside");
      const error = (await errorOf(task)) as CancelledError;
      expect(error).toBeInstanceOf(CancelledError);
      expect([task.cancelled(), scope.expired, task.cancelling()]).toEqual([true, true, 1]);
      expect(error.reason).toBe("from outside");
    });
  }
});

test("162. both in the same turn: the cancellation wins, whichever was thrown", async () => {
  await runVirtual(async (clock) => {
    let scope!: TimeoutScope;
    clock.wakeAfter(10, () => task.cancel("from outside"));
    const task = createTask(() =>
      timeout(10, (own) => {
        scope = own;
        return sleepForever();
      }),
    );
    expect(((await errorOf(task)) as CancelledError).reason).toBe("from outside");
    expect(scope.expired).toBe(true);
    const other = createTask((own) =>
      timeout(10, async (scope) => {
        const waiting = sleepForever();
        scope.reschedule(0);
        own.cancel("from itself");
        await waiting;
      }),
    );
    expect(((await errorOf(other)) as CancelledError).reason).toBe("from itself");
    expect(other.outstanding).toBe(0);
  });
});

test("163. a scope entered with an old swallowed request still converts its own expiry", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      await endOf(sleepForever());
      expect(own.cancelling()).toBe(1);
      expect(await errorOf(timeout(5, () => sleepForever()))).toBeInstanceOf(TimeoutError);
      return own.cancelling();
    });
    await sleep(1);
    task.cancel();
    expect(await task).toBe(1);
  });
});

test("163. an outside request that the body took back does not count", async () => {
  await runVirtual(async () => {
    const task = createTask((own) =>
      timeout(10, async () => {
        await endOf(sleepForever());
        own.uncancel();
        await sleepForever();
      }),
    );
    await sleep(1);
    task.cancel();
    expect(await errorOf(task)).toBeInstanceOf(TimeoutError);
    expect(task.cancelled()).toBe(false);
  });
});

test("164. after the TimeoutError was handled the task is not cancelled", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      await errorOf(timeout(5, () => sleepForever()));
      expect(own.cancelling()).toBe(0);
      await sleep(5);
      return "went on";
    });
    expect(await task).toBe("went on");
  });
});

test("165. the deadline can be moved and taken away while it is active", async () => {
  await runVirtual(async () => {
    const ended = timeout(10, async (scope) => {
      await sleep(5);
      scope.reschedule(20);
      expect(scope.when).toBe(25);
      await sleep(15);
      scope.reschedule(null);
      expect(scope.when).toBeNull();
      await sleep(1_000);
      scope.reschedule(7);
      await sleepForever();
    });
    expect(await errorOf(ended)).toBeInstanceOf(TimeoutError);
    expect(now()).toBe(1_027);
    const atOnce = timeout(10, (scope) => {
      scope.reschedule(0);
      return checkpoint();
    });
    expect(await errorOf(atOnce)).toBeInstanceOf(TimeoutError);
  });
});

test("166. moving it after the end, after expiry or while expiring is an error", async () => {
  await runVirtual(async () => {
    let scope!: TimeoutScope;
    await timeout(10, (own) => {
      scope = own;
    });
    expect(() => scope.reschedule(5)).toThrow(InvalidStateError);
    await errorOf(
      timeout(10, async (own) => {
        scope = own;
        await endOf(sleepForever());
        expect(() => own.reschedule(5)).toThrow(/expiring/);
        throw new Error("end");
      }),
    );
    expect(() => scope.reschedule(5)).toThrow(/expired/);
    await timeout(10, async (own) => {
      expect(() => own.reschedule(NaN)).toThrow(RangeError);
    });
  });
});

test("167. a scope belongs to one call", async () => {
  const scopes = new Set<TimeoutScope>();
  const body = (scope: TimeoutScope): unknown => scopes.add(scope);
  await timeout(10, body);
  await timeout(10, body);
  expect(scopes.size).toBe(2);
});

test("168. outside any task the body runs in a new root task", async () => {
  expect(currentTask()).toBeUndefined();
  const before = allTasks().length;
  const name = await timeout(1_000, async () => {
    expect(allTasks()).toHaveLength(before + 1);
    await checkpoint();
    return currentTask()?.name;
  });
  expect(name).toBe("timeout");
  expect(allTasks()).toHaveLength(before);
  expect(await errorOf(timeout(0, () => checkpoint()))).toBeInstanceOf(TimeoutError);
});

test("169. a scope in the clean-up of an expired scope works on its own", async () => {
  await runVirtual(async () => {
    let inner: unknown;
    const outer = await errorOf(
      timeout(10, async () => {
        try {
          await sleepForever();
        } finally {
          inner = await errorOf(timeout(10, () => sleepForever()));
        }
      }),
    );
    expect(inner).toBeInstanceOf(TimeoutError);
    expect(outer).toBeInstanceOf(TimeoutError);
    expect(now()).toBe(20);
  });
});

test("170. around a group whose child fails in its clean-up, the group's error passes", async () => {
  await runVirtual(async () => {
    const error = await errorOf(
      timeout(10, () =>
        taskGroup(async (group) => {
          group.createTask(async () => {
            await endOf(sleepForever());
            throw new Error("clean-up failed");
          });
        }),
      ),
    );
    expect(error).toBeInstanceOf(TaskGroupError);
    expect((error as TaskGroupError).errors.map(String)).toEqual(["Error: clean-up failed"]);
    expect(currentTask()?.cancelling()).toBe(0);
    await checkpoint();
  });
});

test("171. a scope prints with its state and deadline", async () => {
  await runVirtual(async () => {
    const texts: string[] = [];
    let scope!: TimeoutScope;
    await errorOf(
      timeout(10, async (own) => {
        scope = own;
        texts.push(inspect(own));
        await endOf(sleepForever());
        texts.push(String(own));
        throw new Error("end");
      }),
    );
    texts.push(String(scope));
    await timeout(null, (own) => {
      scope = own;
    });
    texts.push(String(scope));
    expect(texts).toEqual([
      "<timeout active when=10>",
      "<timeout expiring when=10>",
      "<timeout expired when=10>",
      "<timeout finished when=none>",
    ]);
  });
});

test("144. a timeout that fires in the turn of the hand-over is withdrawn: the value is given", async () => {
  await runVirtual(async (clock) => {
    const value = timeout(10, async () => {
      const waiting = sleep(1_000, "value");
      // The item comes and, in the same step, the time is up.
      clock.wakeAfter(10, () => waitBehind(waiting)?.resolve("value"));
      return waiting;
    });
    // Registered before it: the deadline fires first unless it is moved behind.
    expect(await endOf(value)).toBeInstanceOf(TimeoutError);
    const served = timeout(10, async (scope) => {
      const waiting = sleep(1_000, "value");
      waitBehind(waiting)?.resolve("value");
      scope.reschedule(0);
      return waiting;
    });
    expect(await served).toBe("value");
    expect(currentTask()?.cancelling()).toBe(0);
    await checkpoint();
  });
});

test("146. an outside cancellation in the turn of the hand-over is thrown at the edge", async () => {
  await runVirtual(async () => {
    const inner = createTask(async () => "value");
    const task = createTask(async () => {
      await timeout(10, () => inner);
      expect.unreachable();
    });
    inner.addDoneCallback(() => task.cancel());
    await errorOf(task);
    expect([task.cancelled(), inner.result()]).toEqual([true, "value"]);
  });
});

test("timeout refuses what is no time and no function", async () => {
  await expect(timeout(NaN, ignore)).rejects.toThrow(RangeError);
  await expect(timeout("5" as never, ignore)).rejects.toThrow(RangeError);
  await expect(timeoutAt(NaN, ignore)).rejects.toThrow(RangeError);
  await expect(timeout(5, Promise.resolve() as never)).rejects.toThrow(/pass the function itself/);
});

test("timeout lets what its body throws at once come out as a rejection, with its timer called off", async () => {
  await runVirtual(async (clock) => {
    const mine = new Error("mine");
    const error = await errorOf(
      timeout(10, () => {
        throw mine;
      }),
    );
    expect([error, clock.waiting]).toEqual([mine, 0]);
  });
});

test("a body that swallows its expiry and returns wins", async () => {
  await runVirtual(async () => {
    const value = await timeout(10, async (scope) => {
      await endOf(sleepForever());
      return scope.expired;
    });
    expect(value).toBe(true);
    expect(currentTask()?.cancelling()).toBe(0);
  });
});

test("a timer of the task's own context is not the task cancelling itself", async () => {
  await runVirtual(async (clock) => {
    const task = createTask(async () => {
      await cancellable(new Promise((resolve) => void clock.wakeAfter(5, () => resolve(1))));
      return timeout(10, async () => {
        await new Promise((resolve) => void clock.wakeAfter(20, () => resolve(1)));
        return "value";
      });
    });
    expect(await task).toBe("value");
    await settle();
  });
});
