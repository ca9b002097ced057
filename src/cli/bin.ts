#!/usr/bin/env node
// The version is looked at before anything else is loaded: an old Node would
// fail on the first import with a syntax error that helps nobody.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major > 22 || (major === 22 && minor >= 13)) {
  // With nobody to read what goes wrong there is nobody to tell.
  process.stderr.on("error", () => {});
  const { main } = await import("./main.ts");
  process.exit(await main(process.argv.slice(2)));
} else {
  process.stderr.write(
    `heddle: Cannot run on Node ${process.versions.node}: it needs Node 22.13 or newer\n`,
  );
  process.exit(2);
}

export {};
