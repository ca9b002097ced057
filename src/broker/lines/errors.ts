// What the system's error codes mean, in words: the people who see them typed
// a file name.
const meanings: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "part of the path is not a directory",
  EISDIR: "it is a directory",
  EACCES: "access is not allowed",
  EPERM: "access is not allowed",
  EROFS: "the file system is read-only",
  ENOSPC: "no space is left",
  EDQUOT: "the quota is used up",
  EFBIG: "the file has become too large",
  EMFILE: "too many files are open",
  EPIPE: "the reader has gone",
  EIO: "the device failed",
};

/** An error "`what`: …" with the `code` of `error`, which becomes its cause. */
export function systemError(what: string, error: unknown): Error {
  const code = codeOf(error);
  const meaning =
    (code === undefined ? undefined : meanings[code]) ??
    (error instanceof Error ? error.message : String(error));
  const made = new Error(`${what}: ${meaning}`, { cause: error });
  return code === undefined ? made : Object.assign(made, { code });
}

/** The `code` of a system's error. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
