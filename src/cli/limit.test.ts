import { expect, test } from "vitest";
import { memorySource } from "../broker/memory/index.ts";
import { guardSource } from "../message/guard.ts";
import { iterableSource } from "../message/iterable.ts";
import { readAll, RecordingHost, settled } from "../message/test-support/host.ts";
import { limitSource } from "./limit.ts";

test("limitSource ends after so many messages and pulls no further", async () => {
  let pulled = 0;
  function* numbers(): Generator<number> {
    for (;;) yield ++pulled;
  }
  const host = await readAll(guardSource(limitSource(iterableSource(numbers()), 5)), { atOnce: 3 });
  expect(host.messages).toEqual([1, 2, 3, 4, 5]);
  expect(pulled).toBe(5);
});

test("limitSource ends with a source that has less", async () => {
  const host = await readAll(guardSource(limitSource(memorySource([1, 2]), 2)));
  expect(host.messages).toEqual([1, 2]);
  expect((await readAll(limitSource(memorySource([1, 2]), 3))).messages).toEqual([1, 2]);
});

test("limitSource gives back what partitions send beyond the limit", async () => {
  const source = memorySource(["a1", "b1", "a2", "b2"], {
    partitions: (message) => message.charAt(0),
  });
  const host = new RecordingHost<string>();
  const connection = await guardSource(limitSource(source, 3)).open(host);
  await settled();
  connection.request(10, "a");
  connection.request(10, "b");
  await settled();
  expect(host.messages).toEqual(["a1", "b1", "a2"]);
  expect(host.hasEnded).toBe(true);
  expect(source.outcomes.map(({ message, outcome }) => `${message} ${outcome}`)).toEqual([
    "b2 release",
  ]);
});
