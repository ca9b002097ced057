// Keeps the public API as committed files, api/<door>.d.ts, so that a change of
// it shows in review. `--write` writes them; without it a difference fails.
//
// Doc comments are left out: they change often, and their words are reviewed
// where they stand.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Extractor, ExtractorConfig, type ExtractorMessage } from "@microsoft/api-extractor";
import { build } from "./build.ts";
import { doors, filesUnder, root, type Door } from "./support/repository.ts";
import { commentsOf } from "./support/syntax.ts";

const folder = join(root, ".heddle/api");

/** The door's declarations in one file, sorted by name, without comments. */
function reportOf({ specifier, name, types }: Door): string {
  if (!existsSync(join(root, types))) {
    throw new Error(`Cannot report ${specifier}: the build has made no ${types}`);
  }
  const file = join(folder, `${name}.d.ts`);
  const said: string[] = [];
  const { succeeded } = Extractor.invoke(
    ExtractorConfig.prepare({
      configObject: {
        projectFolder: root,
        mainEntryPointFilePath: join(root, types),
        newlineKind: "lf",
        compiler: {
          overrideTsconfig: {
            compilerOptions: {
              target: "ES2023",
              lib: ["ES2023", "ESNext.Disposable", "ESNext.Promise"],
              module: "NodeNext",
              moduleResolution: "NodeNext",
              types: ["node"],
              strict: true,
              exactOptionalPropertyTypes: true,
              skipLibCheck: true,
            },
            files: [types],
          },
        },
        apiReport: { enabled: false },
        docModel: { enabled: false },
        tsdocMetadata: { enabled: false },
        dtsRollup: { enabled: true, untrimmedFilePath: file },
        messages: {
          compilerMessageReporting: { default: { logLevel: "error" } },
          extractorMessageReporting: { default: { logLevel: "none" } },
          tsdocMessageReporting: { default: { logLevel: "none" } },
        },
      },
      configObjectFullPath: undefined,
      packageJsonFullPath: join(root, "package.json"),
    } as Parameters<typeof ExtractorConfig.prepare>[0]),
    {
      messageCallback(message: ExtractorMessage) {
        if (message.logLevel === "error") said.push(message.formatMessageWithLocation(root));
        message.handled = true;
      },
    },
  );
  if (!succeeded) throw new Error(`Cannot report ${specifier}:\n${said.join("\n")}`);
  const text = withoutComments(file, readFileSync(file, "utf8"));
  return `// The public API of "${specifier}", written by \`npm run api\`.\n\n${text}`;
}

function withoutComments(file: string, source: string): string {
  let text = source;
  for (const { start, end } of commentsOf(file, source).toReversed()) {
    text = text.slice(0, start) + text.slice(end);
  }
  return `${text
    .replaceAll(/[ \t]+$/gm, "")
    .replaceAll(/\n{2,}/g, "\n")
    .replaceAll(/^(?=(export|declare|interface|type|class|import)\b)/gm, "\n")
    .replaceAll(/(?<=^import .*\n)\n(?=import )/gm, "")
    .trim()}\n`;
}

const complaints = build({ ifStale: true });
if (complaints !== "") {
  console.error(`Cannot report the API: the build failed\n${complaints}`);
  process.exit(1);
}
const writes = process.argv.includes("--write");
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const reports = new Map(doors().map((door) => [`api/${door.name}.d.ts`, reportOf(door)]));
const obsolete = filesUnder("api", (path) => path.endsWith(".d.ts") && !reports.has(path));

if (writes) {
  mkdirSync(join(root, "api"), { recursive: true });
  for (const [path, text] of reports) writeFileSync(join(root, path), text);
  for (const path of obsolete) rmSync(join(root, path));
  console.log(`${reports.size} reports written to api/`);
} else {
  for (const path of obsolete) {
    console.error(`${path} is the report of no door`);
    process.exitCode = 1;
  }
  for (const [path, text] of reports) {
    const fresh = join(root, ".heddle", path);
    writeFileSync(fresh, text);
    const committed = existsSync(join(root, path)) ? path : "/dev/null";
    const { status, stdout } = spawnSync(
      "git",
      ["diff", "--no-index", "--no-color", committed, fresh.slice(root.length)],
      { cwd: root, encoding: "utf8" },
    );
    if (status === 0) continue;
    console.error(`The API differs from ${path}; \`npm run api\` writes it anew:\n${stdout}`);
    process.exitCode = 1;
  }
  if (process.exitCode === undefined) console.log(`${reports.size} reports agree with the build`);
}
