import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { afterAll, expect, test } from "vitest";
import { guardSource } from "../../message/guard.ts";
import { readAll, RecordingHost, settled } from "../../message/test-support/host.ts";
import { linesSource } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "heddle-lines-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

test("linesSource makes a message of every JSON line of a file", async () => {
  const input = file("good.ndjson", `{"n":1}\n\n  \r\n{"n":2}\r\n"last"`);
  const source = linesSource({ input });
  const host = await readAll(guardSource(source));
  expect(source.name).toBe("lines:good.ndjson");
  expect(host.messages).toEqual([{ n: 1 }, { n: 2 }, "last"]);
  expect(host.deliveries.map(({ id }) => id)).toEqual(["1", "4", "5"]); // as an editor counts
  expect(host.deliveries[1]).toMatchObject({
    key: undefined,
    attempt: 1,
    partition: "",
    headers: {},
    idempotencyKey: "lines:good.ndjson:4",
    redelivered: false,
    invalid: undefined,
  });
  expect(source.progress()).toEqual({
    bytes: 28,
    totalBytes: 28,
    lines: 5,
    messages: 3,
    invalid: 0,
    skipped: 0,
  });
});

test("linesSource delivers a line that is not JSON as invalid, with its number, and goes on", async () => {
  const source = linesSource({ input: file("bad.ndjson", `{"n":1}\nhello\n{"n":2}\n`) });
  const host = await readAll(source);
  expect(host.messages).toEqual([{ n: 1 }, "hello", { n: 2 }]);
  expect(host.deliveries[0]!.invalid).toBeUndefined();
  expect(host.deliveries[1]!.invalid!.message).toMatch(
    /^Cannot read line 2: not JSON \(Unexpected token 'h', "hello" is not valid JSON\)$/,
  );
  expect(host.deliveries[1]!.invalid!.cause).toBeInstanceOf(SyntaxError);
  expect(source.progress()).toMatchObject({ messages: 3, invalid: 1 });
});

test("linesSource passes over a byte order mark", async () => {
  const host = await readAll(linesSource({ input: file("bom.ndjson", `\uFEFF{"n":1}\n`) }));
  expect(host.messages).toEqual([{ n: 1 }]);
});

test("linesSource has parse make messages of text; it may skip a line or refuse it", async () => {
  const source = linesSource({
    input: file("words.txt", "one\n# comment\nbad\nünïcode €\r\n"),
    parse(line) {
      if (line.startsWith("#")) return undefined;
      if (line === "bad") throw new Error("there is no bad");
      return line.toUpperCase();
    },
  });
  const host = await readAll(guardSource(source));
  expect(host.messages).toEqual(["ONE", "bad", "ÜNÏCODE €"]);
  expect(host.deliveries[1]!.invalid!.message).toBe("Cannot read line 3: there is no bad");
  expect(source.progress()).toMatchObject({ lines: 4, messages: 3, invalid: 1, skipped: 1 });
});

test("linesSource refuses a line that is too long and keeps how it begins", async () => {
  const long = JSON.stringify({ text: "x".repeat(2_000) });
  const source = linesSource({
    input: file("long.ndjson", `1\n${long}\n2\n`),
    maxLineBytes: 1_000,
  });
  const host = await readAll(source);
  expect(host.messages).toEqual([1, long.slice(0, 256), 2]);
  expect(host.deliveries[1]!.invalid!.message).toBe(
    "Cannot read line 2: it is longer than 1000 bytes",
  );
});

test("linesSource reads a file of many chunks, whatever lies on their borders", async () => {
  const lines = Array.from({ length: 20_000 }, (_, n) => ({ n, text: "€🧵é".repeat(n % 17) }));
  const input = file("many.ndjson", lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const host = await readAll(guardSource(linesSource({ input })), { atOnce: 3 });
  expect(host.messages).toEqual(lines);
});

test("linesSource reads streams of bytes and of text", async () => {
  const bytes = Buffer.from(`"é"\n"€"\n`);
  const cut = Readable.from([bytes.subarray(0, 2), bytes.subarray(2, 7), bytes.subarray(7)], {
    objectMode: false,
  });
  expect((await readAll(linesSource({ input: cut }))).messages).toEqual(["é", "€"]);
  const text = Readable.from(["1\n2", "3\n4"]);
  expect((await readAll(linesSource({ input: text }))).messages).toEqual([1, 23, 4]);
});

test("linesSource delivers a line of a stream as soon as it is there", async () => {
  const stream = new PassThrough();
  const host = new RecordingHost<unknown>();
  const connection = await linesSource({ input: stream }).open(host);
  connection.request(10);
  stream.write("1\n2\n3");
  await settled();
  expect(host.messages).toEqual([1, 2]);
  await connection.close();
  expect(stream.destroyed).toBe(true);
});

test("linesSource delivers no more than was requested, and sees the end without more credit", async () => {
  const host = new RecordingHost<unknown>();
  const connection = await linesSource({ input: file("four", "1\n2\n3\n4\n") }).open(host);
  connection.request(3);
  expect(host.messages).toEqual([]);
  await expect.poll(() => host.messages).toEqual([1, 2, 3]);
  await settled();
  expect(host.messages).toEqual([1, 2, 3]);
  connection.request(1);
  await host.over;
  expect(host.messages).toEqual([1, 2, 3, 4]);
  await connection.close();
});

test("linesSource delivers nothing after close", async () => {
  const host = new RecordingHost<unknown>();
  const connection = await linesSource({ input: file("closed", "1\n".repeat(100_000)) }).open(host);
  host.onDelivery = () => {
    if (host.deliveries.length === 10) void connection.close();
  };
  connection.request(100_000);
  await connection.close().catch(() => {});
  await settled(10);
  expect(host.deliveries.length).toBeLessThanOrEqual(10);
  expect(host.hasEnded).toBe(false);
});

test("linesSource says what it cannot read", async () => {
  const missing = join(folder, "missing.ndjson");
  await expect(linesSource({ input: missing }).open(new RecordingHost())).rejects.toMatchObject({
    message: `Cannot read ${missing}: there is no such file`,
    code: "ENOENT",
  });
  await expect(linesSource({ input: folder }).open(new RecordingHost())).rejects.toThrow(
    `Cannot read ${folder}: it is a directory`,
  );
  const broken = new Readable({
    read() {
      this.destroy(new Error("the wire was cut"));
    },
  });
  await expect(readAll(linesSource({ input: broken }))).rejects.toThrow(
    "Cannot read lines:stream: the wire was cut",
  );
  expect(() => linesSource({ input: "-", maxLineBytes: 0 })).toThrow(
    "Cannot make a source of lines: maxLineBytes must be a whole number >= 1, current value is 0",
  );
});

test("linesSource reads a stream once, and a file again", async () => {
  const stream = linesSource({ input: Readable.from(["1\n"]) });
  await readAll(stream);
  await expect(readAll(stream)).rejects.toThrow(
    "Cannot open lines:stream: it can be read only once",
  );
  const path = linesSource({ input: file("twice", "1\n") });
  await readAll(path);
  expect((await readAll(path)).messages).toEqual([1]);
});

test("linesSource reads a named pipe and closes it while its writer is quiet", async () => {
  const path = join(folder, "pipe");
  await exitOf(spawn("sh", ["-c", `mkfifo "${path}"`]));
  const writer = spawn("sh", ["-c", `exec 3>"${path}"; echo 1 >&3; echo 2 >&3; read wait`], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  const host = new RecordingHost<unknown>();
  const connection = await linesSource({ input: path }).open(host);
  connection.request(10);
  await expect.poll(() => host.messages).toEqual([1, 2]);
  await connection.close();
  writer.stdin.end();
  await exitOf(writer);
  expect(host.hasEnded).toBe(false);
});

test("linesSource reads 30 MB in the memory of a few chunks", async () => {
  const line = `${JSON.stringify({ key: "k", text: "x".repeat(1_000) })}\n`;
  const chunk = Buffer.from(line.repeat(1_000));
  let left = 30;
  const stream = new Readable({
    read() {
      this.push(left-- > 0 ? chunk : null);
    },
  });
  const host = new RecordingHost<unknown>();
  const source = linesSource({ input: stream });
  const connection = await source.open(host);
  let most = 0;
  host.onDelivery = () => {
    host.deliveries.length = 0;
    connection.request(1);
    if (source.progress().messages % 5_000 === 0) {
      globalThis.gc?.();
      most = Math.max(most, memory());
    }
  };
  globalThis.gc?.();
  const before = memory();
  connection.request(1);
  await host.over;
  expect(source.progress().messages).toBe(30_000);
  expect(most - before).toBeLessThan(12_000_000);
});

function memory(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function exitOf(child: ReturnType<typeof spawn>): Promise<void> {
  return new Promise((resolve) => {
    child.once("close", () => resolve());
  });
}
