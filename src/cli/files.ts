// Which files a run reads and writes, looked at before anything is opened: a
// run that writes over its own input destroys it before the first line is read.
import { accessSync, constants, fstatSync, statSync, type Stats } from "node:fs";
import { UsageError } from "./usage-error.ts";

/** One file that a run is to use. */
export interface UsedFile {
  /** How it was named, such as "--output out.ndjson" */
  readonly as: string;
  /** A path, or the number of a descriptor */
  readonly file: string | number;
  readonly written: boolean;
}

/** @throws {UsageError} If a file is to be written that is also read, or written in two ways */
export function refuseSameFile(files: readonly UsedFile[]): void {
  const known = files.flatMap((used) => {
    const stat = statOf(used.file);
    return stat?.isFile() === true ? [{ used, stat }] : [];
  });
  for (const [index, { used, stat }] of known.entries()) {
    for (const other of known.slice(0, index)) {
      if (!used.written && !other.used.written) continue;
      if (stat.dev !== other.stat.dev || stat.ino !== other.stat.ino) continue;
      throw new UsageError(`Cannot use ${used.as}: it is the same file as ${other.used.as}`);
    }
  }
}

function statOf(file: string | number): Stats | undefined {
  try {
    return typeof file === "number" ? fstatSync(file) : statSync(file, { throwIfNoEntry: false });
  } catch {
    // What cannot be looked at is complained of when it is opened.
    return undefined;
  }
}

/** @throws {UsageError} If there is no such file, it is a directory, or it may not be read */
export function checkInput(path: string): void {
  const stat = statOf(path);
  if (stat === undefined) throw new UsageError(`Cannot read ${path}: there is no such file`);
  if (stat.isDirectory()) throw new UsageError(`Cannot read ${path}: it is a directory`);
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw new UsageError(`Cannot read ${path}: access is not allowed`);
  }
}
