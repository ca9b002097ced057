// What tests of your own want: `import { runVirtual } from "heddle/testing"`.
export { runVirtual, VirtualClock } from "../testing/virtual-clock.ts";
