// The command's arguments. What each command does is in its own file, loaded
// when it is called for.
import { readFileSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { UsageError } from "./usage-error.ts";
import type { RunFlags } from "./run.ts";
import type { DemoFlags } from "./demo.ts";

/** @returns the exit status */
export async function main(args: readonly string[]): Promise<number> {
  let status = 0;
  const program = programOf((ended) => {
    status = ended;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return commanderStatus(error, args);
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`heddle: ${error.message}\n`);
    return 2;
  }
}

function programOf(end: (status: number) => void): Command {
  const program = new Command("heddle")
    .description(
      "One task per live key: runs your sessions over a file, a stream or standard input.",
    )
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .exitOverride()
    .configureOutput({ writeErr() {} })
    .addHelpText(
      "after",
      `
Examples:
  heddle run visits.js --input access.log
  tail -f events.ndjson | heddle run calls.js --dead-letters dead.ndjson
  heddle demo`,
    );

  program
    .command("run")
    .summary("run a module's sessions over its input")
    .description(
      "Runs MODULE, a JavaScript or TypeScript file whose default export is\n" +
        "defineSessions({ … }), over the lines of its input: JSON, or text if the\n" +
        "module has parse(line). What its handlers return is written as JSON lines.",
    )
    .argument("<MODULE>", "the file with the sessions")
    .option("-i, --input <FILE>", "read from FILE (- is standard input, which is the default)")
    .option("-o, --output <FILE>", "write to FILE (- is standard output, which is the default)")
    .option(
      "--dead-letters <FILE>",
      "add the messages that were given up to FILE, one JSON line each",
    )
    .option("--limit <N>", "stop after N messages", wholeNumber)
    .option("--json", "print the summary as one JSON object, on the last line of standard error")
    .addHelpText(
      "after",
      `
Exit status:
  0  the input was handled, or the reader of the output had seen enough
  1  messages were given up and not kept (see --dead-letters), or something was left pending
  2  wrong use
SIGINT and SIGTERM finish what was accepted and end like that; a second one stops at once.`,
    )
    .action(async (module: string, flags: RunFlags) => {
      const { run } = await import("./run.ts");
      end(await run(module, flags));
    });

  program
    .command("demo")
    .summary("show the leak that this library began with, and its cure")
    .description(
      "Runs the same small service three times: with tasks that nobody cancels, with\n" +
        "tasks that cancel themselves, and on the session router.",
    )
    .option("--broken", "the first alone, until it is stopped")
    .action(async (flags: DemoFlags) => {
      const { demo } = await import("./demo.ts");
      end(await demo(flags));
    });

  return program;
}

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const description = JSON.parse(text) as { readonly version: string };
  return description.version;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1 || !/^\d+$/.test(text)) {
    throw new InvalidArgumentError("it must be a whole number >= 1");
  }
  return value;
}

/** Says in one line what commander says in two, and where the help is. */
function commanderStatus(error: CommanderError, args: readonly string[]): number {
  if (error.exitCode === 0) return 0;
  const command = args.find((argument) => argument === "run" || argument === "demo");
  const help = command === undefined ? "heddle --help" : `heddle ${command} --help`;
  if (error.code === "commander.help") {
    process.stderr.write(`heddle: Cannot tell what to do: no command was given; see ${help}\n`);
    return 2;
  }
  process.stderr.write(`heddle: ${wrongUse(error)}; see ${help}\n`);
  return 2;
}

/** Commander's complaints in the form of all the others. */
function wrongUse({ code, message }: CommanderError): string {
  const [complaint = "", ...hints] = message.replace(/^error: /, "").split("\n");
  const hint = hints.join(" ").replace("(Did", "(did");
  const [, first = "", second = ""] = /'(.*?)'(?:.*?'(.*?)')?/.exec(complaint) ?? [];
  const meant = hint === "" ? "" : ` ${hint}`;
  switch (code) {
    case "commander.unknownOption":
      return `Cannot use ${first}: there is no such option${meant}`;
    case "commander.unknownCommand":
      return `Cannot ${first}: there is no such command${meant}`;
    case "commander.missingArgument":
      return `Cannot run: ${first} is missing`;
    case "commander.optionMissingArgument":
      return `Cannot use ${first.replace(/^-\w, /, "")}: its argument is missing`;
    case "commander.invalidArgument":
      return `Cannot use ${first.replace(/ .*$/, "")} ${second}: ${complaint.replace(/^.*is invalid\. /, "")}`;
    case "commander.excessArguments":
      return `Cannot take so many arguments: ${complaint.replace(/^.*\. (.)/, (_, letter: string) => letter.toLowerCase()).replace(/\.$/, "")}`;
    default:
      return `Cannot go on: ${complaint}`;
  }
}
