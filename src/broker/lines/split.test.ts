import fc from "fast-check";
import { expect, test } from "vitest";
import { LineSplitter, tooLong } from "./split.ts";

function linesOf(
  chunks: Iterable<Buffer>,
  { whole, maxBytes = 1_000_000 }: { whole: boolean; maxBytes?: number },
): string[] {
  const splitter = new LineSplitter(whole, maxBytes);
  const lines: string[] = [];
  const drain = (): void => {
    for (let line = splitter.next(); line !== undefined; line = splitter.next()) {
      lines.push(line === tooLong ? `too long: ${splitter.beginning.slice(0, 3)}…` : line);
    }
  };
  for (const chunk of chunks) {
    // As a reader that uses its buffer again would.
    const buffer = Buffer.from(chunk);
    splitter.take(buffer);
    drain();
    buffer.fill(0x21);
  }
  splitter.end();
  drain();
  return lines;
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  let start = 0;
  for (let n = 0; start < bytes.length; n++) {
    const size = sizes[n % sizes.length] ?? 1;
    chunks.push(bytes.subarray(start, start + size));
    start += size;
  }
  return chunks;
}

const text = fc.string({ unit: fc.constantFrom("a", "é", "€", "🧵", "\n", "\r\n", " ", "\r") });

test.for([true, false])(
  "LineSplitter finds the same lines wherever the chunks end (whole: %s)",
  (whole) => {
    fc.assert(
      fc.property(
        text,
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        (input, sizes) => {
          const expected = input.split("\n").map((line) => line.replace(/\r$/, ""));
          // What follows the last line feed is a line only if there is something.
          if (input === "" || input.endsWith("\n")) expected.pop();
          expect(linesOf(cut(Buffer.from(input), sizes), { whole })).toEqual(expected);
        },
      ),
      { numRuns: 2_000 },
    );
  },
);

test.for([true, false])(
  "LineSplitter refuses lines beyond the bound, and only those (whole: %s)",
  (whole) => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom("a", "é", "€"), maxLength: 12 })),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        fc.constantFrom("\n", "\r\n"),
        (input, sizes, end) => {
          const bytes = Buffer.from(input.map((line) => line + end).join(""));
          const isLong = linesOf(cut(bytes, sizes), { whole, maxBytes: 10 }).map((line) =>
            line.startsWith("too long"),
          );
          expect(isLong).toEqual(input.map((line) => Buffer.byteLength(line) > 10));
        },
      ),
      { numRuns: 2_000 },
    );
  },
);

test("LineSplitter keeps no more of an endless line than its bound", () => {
  const splitter = new LineSplitter(true, 1_000);
  const chunk = Buffer.alloc(64 * 1_024, "x");
  const before = process.memoryUsage().arrayBuffers;
  for (let n = 0; n < 1_000; n++) {
    splitter.take(chunk);
    expect(splitter.next()).toBeUndefined();
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8_000_000);
  splitter.take(Buffer.from("\nshort\n"));
  expect(splitter.next()).toBe(tooLong);
  expect(splitter.beginning).toBe("x".repeat(256));
  expect(splitter.next()).toBe("short");
});
