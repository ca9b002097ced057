// Lines of a file, a stream or standard input, and JSON lines out: `import { linesSource } from "heddle/lines"`.
export { linesSink, linesSource } from "../broker/lines/index.ts";
export type {
  LinesProgress,
  LinesSink,
  LinesSinkOptions,
  LinesSource,
  LinesSourceOptions,
} from "../broker/lines/index.ts";
