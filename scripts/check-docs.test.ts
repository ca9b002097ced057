import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { filesUnder, readText, root } from "./support/repository.ts";

test("docs/errors.md has a paragraph for every error code, and for no other", () => {
  const sources = filesUnder("src", (path) => /(?<!\.test|\.test-d)\.ts$/.test(path));
  const thrown = sources.flatMap((path) =>
    [...readText(path).matchAll(/\bcode(?:: string)?(?: =|:) "(HEDDLE_\w+)"/g)].map(
      ([, code]) => code,
    ),
  );
  const explained = [...readText("docs/errors.md").matchAll(/^### `(HEDDLE_\w+)`$/gm)].map(
    ([, code]) => code,
  );
  expect(thrown.length).toBeGreaterThan(10);
  expect(new Set(explained)).toEqual(new Set(thrown));
  expect(explained).toHaveLength(new Set(explained).size);
});

const pages = [
  "README.md",
  "CONTRIBUTING.md",
  ...["docs", "examples", "bench"].flatMap((folder) =>
    filesUnder(folder, (path) => path.endsWith(".md")),
  ),
];

test.for(pages)("%s has no link that leads nowhere", (page) => {
  const prose = withoutCode(readText(page));
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
  expect(links.filter((link) => !leadsSomewhere(page, link))).toEqual([]);
});

function leadsSomewhere(page: string, link: string): boolean {
  if (/^https?:/.test(link)) return true;
  const [file = "", anchor] = link.split("#");
  const target = file === "" ? page : join(dirname(page), file);
  if (!existsSync(join(root, target))) return false;
  return anchor === undefined || anchorsOf(readText(target)).includes(anchor);
}

function withoutCode(text: string): string {
  return text.replaceAll(/^```.*?^```/gms, "").replaceAll(/`[^`\n]*`/g, "");
}

/** As a page that shows it makes them of its headings. */
function anchorsOf(text: string): string[] {
  const headings = text.replaceAll(/^```.*?^```/gms, "").matchAll(/^#+ (.*)$/gm);
  return [...headings].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}
