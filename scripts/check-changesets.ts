// Every change that users notice comes with a changeset: there is at least one,
// unless this very version has just been released, and each says something.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { filesUnder, readText, root } from "./support/repository.ts";

function complaintAbout(path: string): string | undefined {
  const [, front, summary] = /^---\n(.*?)\n---\n(.*)$/s.exec(readText(path)) ?? [];
  if (!/^["']?heddle["']?: (patch|minor|major)$/.test(front?.trim() ?? "")) {
    return `${path} does not begin with "heddle": patch, minor or major`;
  }
  return summary?.trim() === "" ? `${path} does not say what users get` : undefined;
}

const paths = filesUnder(
  ".changeset",
  (path) => path.endsWith(".md") && !path.endsWith("README.md"),
);
const complaints = paths.map(complaintAbout).filter((complaint) => complaint !== undefined);
const { version } = JSON.parse(readText("package.json")) as { version: string };
const isReleased =
  existsSync(join(root, "CHANGELOG.md")) &&
  readText("CHANGELOG.md").split("\n").includes(`## ${version}`);
if (paths.length === 0 && !isReleased) {
  complaints.push(`There is no changeset: "npx changeset" writes one`);
}

for (const complaint of complaints) console.error(complaint);
console.log(`${paths.length} changesets`);
if (complaints.length > 0) process.exitCode = 1;
