// Where things are, and how a script ends.
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

export const root: string = fileURLToPath(new URL("../..", import.meta.url));

/** Paths of the files under `folder`, relative to the repository, with `/`, sorted; none when there is no such folder. */
export function filesUnder(folder: string, wanted: (path: string) => boolean): string[] {
  let entries;
  try {
    entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
  } catch {
    return [];
  }
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length).replaceAll("\\", "/"))
    .filter((path) => !path.split("/").includes("node_modules") && wanted(path))
    .toSorted();
}

export function readText(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

export interface Door {
  /** What users import, such as `heddle/session` */
  readonly specifier: string;
  /** The door's own name, such as `session` */
  readonly name: string;
  /** Its declarations after a build, relative to the repository */
  readonly types: string;
}

/** The public doors, as package.json names them. */
export function doors(): Door[] {
  const { exports } = JSON.parse(readText("package.json")) as {
    exports: Record<string, string | { readonly types: string }>;
  };
  return Object.entries(exports).flatMap(([subpath, target]) =>
    typeof target === "string"
      ? []
      : [
          {
            specifier: `heddle${subpath.slice(1)}`,
            name: subpath === "." ? "heddle" : subpath.slice(2),
            types: target.types.slice(2),
          },
        ],
  );
}

/** Whether `meta` is that of the script that Node was started with; for Node versions without `import.meta.main` too. */
export function isMain(meta: ImportMeta): boolean {
  return process.argv[1] !== undefined && fileURLToPath(meta.url) === process.argv[1];
}
