import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const doors = fileURLToPath(new URL("src/doors", import.meta.url));

export default defineConfig({
  resolve: {
    // The package's own name stands for its sources, as in tsconfig.json.
    alias: [
      { find: /^heddle$/, replacement: `${doors}/heddle.ts` },
      { find: /^heddle\/(.+)$/, replacement: `${doors}/$1.ts` },
    ],
  },
  test: {
    include: ["{src,examples,scripts}/**/*.test.ts"],
    globalSetup: "scripts/support/vitest-setup.ts",
    // A process a file: signals, unhandled rejections and the collector belong to the test alone.
    pool: "forks",
    maxWorkers: 2,
    execArgv: ["--expose-gc"],
    // Time is virtual, so that a test which takes seconds hangs; those that start processes say so themselves.
    testTimeout: 10_000,
    hookTimeout: 10_000,
    teardownTimeout: 5_000,
    restoreMocks: true,
    passWithNoTests: false,
  },
});
