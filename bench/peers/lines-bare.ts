// What `heddle run` is compared with: readline, JSON.parse, and nothing else.
import { createReadStream } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";

const input = createReadStream(process.argv[2] as string);
let handled = 0;
for await (const line of createInterface({ input, crlfDelay: Infinity })) {
  JSON.parse(line);
  handled++;
}
console.error(JSON.stringify({ handled }));
