import { expect, test } from "vitest";
import { examplesInMarkdown, examplesInSource } from "./support/examples.ts";

test("examplesInMarkdown finds ts blocks alone, with the line of their code", () => {
  const text = [
    "# Title",
    "```sh",
    "npm ci",
    "```",
    "```ts",
    'import "heddle";',
    "",
    "```",
    "- in a list",
    "  ```ts",
    "  if (true) {",
    "    run();",
    "  }",
    "  ```",
  ].join("\n");
  expect(examplesInMarkdown("README.md", text)).toEqual([
    { path: "README.md", line: 6, code: 'import "heddle";\n', notRun: undefined },
    { path: "README.md", line: 11, code: "if (true) {\n  run();\n}", notRun: undefined },
  ]);
});

test("examplesInMarkdown takes the reason why a block is not run, and tells when there is none", () => {
  const text = "```ts no-run needs a broker\na\n```\n```ts no-run\nb\n```\n";
  expect(examplesInMarkdown("a.md", text).map(({ notRun }) => notRun)).toEqual([
    "needs a broker",
    "",
  ]);
});

test("examplesInSource finds the blocks under @example of what is public", () => {
  const source = `
/**
 * Does it.
 *
 * \`\`\`ts
 * notAnExample();
 * \`\`\`
 *
 * @example Once
 * \`\`\`ts
 * import { it } from "heddle";
 * @decorated
 * class A {}
 * \`\`\`
 * @example Twice
 * \`\`\`ts
 * it();
 * \`\`\`
 * @returns nothing
 */
export const it = () => "/** @example */";

/**
 * @internal
 * @example
 * \`\`\`ts
 * hidden();
 * \`\`\`
 */
export const hidden = 1;
`;
  expect(examplesInSource("src/it.ts", source)).toEqual([
    {
      path: "src/it.ts",
      line: 11,
      code: 'import { it } from "heddle";\n@decorated\nclass A {}',
      notRun: undefined,
    },
    { path: "src/it.ts", line: 17, code: "it();", notRun: undefined },
  ]);
});
