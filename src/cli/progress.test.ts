import { expect, test } from "vitest";
import { VirtualClock } from "../testing/virtual-clock.ts";
import { ProgressLine, progressText, type Progress } from "./progress.ts";
import { bytes, count, duration } from "./words.ts";

test("progressText says how far a file of known size has been read and how long it will take", () => {
  const before: Progress = { bytes: 0, totalBytes: 4e6, done: 0, noun: "lines", live: 0 };
  const now: Progress = { bytes: 1e6, totalBytes: 4e6, done: 12_345, noun: "lines", live: 1_000 };
  expect(progressText({ at: 0, progress: before }, { at: 2_000, progress: now })).toBe(
    "1.0 of 4.0 MB  25 %  12,345 lines  6,173/s  1,000 live  6.0 s left",
  );
});

test("progressText leaves out what is not known", () => {
  const stream: Progress = { bytes: 512, totalBytes: undefined, done: 3, noun: "lines", live: 1 };
  expect(progressText({ at: 0, progress: stream }, { at: 1_000, progress: stream })).toBe(
    "512 bytes  3 lines  0/s  1 live",
  );
  const queue: Progress = { done: 7, noun: "messages", live: 2 };
  const before: Progress = { done: 2, noun: "messages", live: 0 };
  expect(progressText({ at: 0, progress: before }, { at: 500, progress: queue })).toBe(
    "7 messages  10/s  2 live",
  );
});

test("ProgressLine draws at most ten times a second, within the terminal, and leaves no trace", async () => {
  const clock = new VirtualClock();
  let written = "";
  let looks = 0;
  const terminal = { columns: 12, write: (text: string) => void (written += text) };
  const line = new ProgressLine(terminal, clock, () => {
    looks += 1;
    return { done: looks, noun: "messages", live: 0 };
  });
  line.start();
  await clock.advance(10_000);
  expect(looks).toBeGreaterThan(30);
  expect(looks).toBeLessThanOrEqual(101);
  const drawn = written.split("\r\u001b[2K");
  expect(drawn.every((text) => text.length < 12)).toBe(true);
  line.stop();
  expect(written.endsWith("\r\u001b[2K")).toBe(true);
  const before = written;
  await clock.advance(10_000);
  expect(written).toBe(before);
});

test("words show numbers as people read them", () => {
  expect([0, 999, 1_234_567.4].map(count)).toEqual(["0", "999", "1,234,567"]);
  expect([0, 999, 1_000, 999_949, 999_950, 5e9, 7e15].map(bytes)).toEqual([
    "0 bytes",
    "999 bytes",
    "1.0 KB",
    "999.9 KB",
    "1.0 MB",
    "5.0 GB",
    "7000.0 TB",
  ]);
  expect([0, 1_900, 59_949, 59_950, 125_000, 3_780_000].map(duration)).toEqual([
    "0 ms",
    "1.9 s",
    "59.9 s",
    "1 min 0 s",
    "2 min 5 s",
    "1 h 3 min",
  ]);
});
