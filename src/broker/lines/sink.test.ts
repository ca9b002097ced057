import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { afterAll, expect, test } from "vitest";
import { settled } from "../../message/test-support/host.ts";
import { linesSink } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "heddle-sink-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("linesSink writes one JSON line for each value", async () => {
  const output = join(folder, "out.ndjson");
  const sink = linesSink({ output });
  expect(sink.write({ n: 1 })).toBeUndefined();
  void sink.write("two\nlines");
  void sink.write(null);
  await sink.close();
  expect(readFileSync(output, "utf8")).toBe(`{"n":1}\n"two\\nlines"\nnull\n`);
  expect(sink.lines).toBe(3);
  expect(() => sink.write(4)).toThrow(`Cannot write to ${output}: it is closed`);
});

test("linesSink writes a file anew, or adds to it", async () => {
  const output = join(folder, "again.ndjson");
  writeFileSync(output, "old\n");
  const adding = linesSink({ output, append: true });
  await adding.write(1);
  await adding.close();
  expect(readFileSync(output, "utf8")).toBe("old\n1\n");
  const anew = linesSink({ output });
  await anew.open();
  expect(readFileSync(output, "utf8")).toBe("");
  await anew.close();
});

test("linesSink writes what has gathered in the next turn, without being asked", async () => {
  const stream = new PassThrough();
  const sink = linesSink({ output: stream });
  await sink.write(1);
  await sink.write(2);
  expect(stream.read()).toBeNull();
  await settled(3);
  expect(String(stream.read())).toBe("1\n2\n");
  await sink.close();
  expect(stream.writableEnded).toBe(true);
});

test("linesSink makes its writers wait while the reader is slow", async () => {
  let goOn: (() => void) | undefined;
  const written: string[] = [];
  const slow = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk));
      goOn = done;
    },
  });
  const sink = linesSink({ output: slow });
  const waits = Array.from({ length: 100 }, () => sink.write("x".repeat(4_000)));
  const waiting = waits.filter((wait) => wait !== undefined);
  expect(waits.findIndex((wait) => wait !== undefined)).toBe(16); // 64 KiB
  let gone = 0;
  for (const wait of waiting) void wait.then(() => gone++);
  await settled(3);
  expect(gone).toBe(0);
  while (written.join("").length < 100 * 4_003) {
    goOn?.();
    await settled(3);
  }
  goOn?.();
  await settled(3);
  expect(gone).toBe(waiting.length);
});

test("linesSink tells once that its output is broken, and fails every write after it", async () => {
  const told: unknown[] = [];
  const stream = new Writable({
    write(_chunk, _encoding, done) {
      done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    },
  });
  const sink = linesSink({ output: stream, broken: (error) => void told.push(error) });
  void sink.write(1);
  await settled(3);
  expect(told).toEqual([
    expect.objectContaining({
      message: "Cannot write to lines:stream: the reader has gone",
      code: "EPIPE",
    }),
  ]);
  expect(() => sink.write(2)).toThrow("the reader has gone");
  await sink.close();
  expect(told).toHaveLength(1);
});

test("linesSink says why a file cannot be written", async () => {
  const output = join(folder, "missing", "out.ndjson");
  await expect(linesSink({ output }).open()).rejects.toThrow(
    `Cannot write to ${output}: there is no such file`,
  );
  await expect(linesSink({ output: folder }).open()).rejects.toThrow(
    `Cannot write to ${folder}: it is a directory`,
  );
});

test("linesSink refuses what JSON cannot say and goes on", async () => {
  const stream = new PassThrough();
  const sink = linesSink({ output: stream });
  expect(() => sink.write(undefined)).toThrow("Cannot write a value of type undefined as JSON");
  expect(() => sink.write(() => {})).toThrow("Cannot write a value of type function as JSON");
  expect(() => sink.write(1n)).toThrow(TypeError);
  void sink.write("good");
  await sink.close();
  expect(String(stream.read())).toBe(`"good"\n`);
});
