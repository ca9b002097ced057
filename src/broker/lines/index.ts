export { linesSource } from "./source.ts";
export type { LinesProgress, LinesSource, LinesSourceOptions } from "./source.ts";
export { linesSink } from "./sink.ts";
export type { LinesSink, LinesSinkOptions } from "./sink.ts";
