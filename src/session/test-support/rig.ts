// A router on a virtual clock whose handler does what its messages say, and
// which writes down what happened: so that a test is what goes in and what
// comes out, the same in both handler styles.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { onTestFinished } from "vitest";
import {
  memorySource,
  type MemorySource,
  type MemorySourceOptions,
} from "../../broker/memory/index.ts";
import type { DeadLetter } from "../../message/delivery.ts";
import { CancelledError } from "../../task/errors.ts";
import { sleep } from "../../task/sleep.ts";
import { VirtualClock } from "../../testing/virtual-clock.ts";
import type { EndReason, LoopOptions, MessageOptions, Session } from "../options.ts";
import { SessionRouter } from "../router.ts";

/** What a handler is given in these tests: it says what the handler is to do with it. */
export interface Message {
  readonly key: string;
  readonly name: string;
  /** It may start a session, where `starts` asks */
  readonly start?: boolean;
  readonly end?: boolean;
  readonly time?: number;
  /** The handler sleeps for so long, in milliseconds; a cancellation ends it */
  readonly work?: number;
  /** The handler takes so long whatever it is told */
  readonly deaf?: number;
  /** So many tries fail */
  readonly fails?: number;
  readonly partition?: string;
}

/** `m("a1")`: message a1 of key a. */
export function m(name: string, more: Partial<Message> = {}): Message {
  return { key: name.slice(0, 1), name, ...more };
}

/** Loop style; message style with an async handler; message style with one that gives a promise only when it must. */
export const styles = ["loop", "async", "sync"] as const;
export type Style = (typeof styles)[number];
export const messageStyles = ["async", "sync"] as const;

export type AnySession = Session<Message, string, unknown>;

type Options = Omit<LoopOptions<Message, string, unknown, unknown>, "session" | "interrupts"> &
  Pick<MessageOptions<Message, string, unknown, unknown>, "interrupts">;

export interface RigOptions extends Options {
  /** What the handler does first with each message */
  readonly work?: ((message: Message, session: AnySession) => unknown) | undefined;
  /** Loop style: what the handler does after its loop */
  readonly after?: ((session: AnySession) => unknown) | undefined;
}

export class Rig {
  readonly clock = new VirtualClock(1_000_000);
  readonly router: SessionRouter<Message, string, unknown, unknown>;
  /** Everything, in order */
  readonly log: string[] = [];
  /** Messages that the handler was given */
  readonly began: string[] = [];
  /** Messages that the handler has finished with */
  readonly done: string[] = [];
  /** What became of loops: over (the code behind the loop runs), cancelled, failed, finally */
  readonly loops: string[] = [];
  /** Which of `ended` and `stopped` was called, for whom, and why */
  readonly told: string[] = [];
  readonly problems: string[] = [];
  source: MemorySource<Message> | undefined;
  consuming: Promise<void> | undefined;
  readonly #options: RigOptions;
  #unlisten: () => void = () => {};

  constructor(style: Style, options: RigOptions = {}) {
    const { work: _work, after: _after, ...given } = options;
    this.#options = options;
    const common = {
      key: (message: Message) => message.key,
      ends: (message: Message) => message.end === true,
      clock: this.clock,
      ended: (session: AnySession, reason: EndReason) => this.#tell("ended", session, reason),
      stopped: (session: AnySession, reason: EndReason) => this.#tell("stopped", session, reason),
      ...given,
    };
    this.router = new SessionRouter<Message, string, unknown, unknown>(
      style === "loop"
        ? { ...common, interrupts: undefined, session: (session) => this.#loop(session) }
        : style === "async"
          ? { ...common, message: async (message, session) => this.#handle(message, session) }
          : { ...common, message: (message, session) => this.#handle(message, session) },
    );
    this.#listen();
  }

  #listen(): void {
    const listener = (message: unknown): void => {
      const { text, error } = message as { text: string; error: unknown };
      this.problems.push(error === undefined ? text : `${text}: ${String(error)}`);
    };
    subscribe("heddle:problem", listener);
    this.#unlisten = () => void unsubscribe("heddle:problem", listener);
    onTestFinished(() => this.deafen());
  }

  /** Listens to problems no longer. */
  deafen(): void {
    this.#unlisten();
  }

  #tell(which: string, session: AnySession, reason: EndReason): void {
    const why = session.endReason === reason ? reason : `${reason}/${session.endReason}`;
    const error = session.error === undefined ? "" : ` (${(session.error as Error).message})`;
    this.told.push(`${which} ${session.key} ${why}${error}`);
    this.log.push(`${which} ${session.key} ${why}${error}`);
  }

  #say(what: string): void {
    this.loops.push(what);
    this.log.push(what);
  }

  async #loop(session: AnySession): Promise<unknown> {
    try {
      for await (const message of session) await this.#handle(message, session);
      this.#say(`${session.key} over`);
      return await this.#options.after?.(session);
    } catch (error) {
      this.#say(`${session.key} ${error instanceof CancelledError ? "cancelled" : "failed"}`);
      throw error;
    } finally {
      this.#say(`${session.key} finally`);
    }
  }

  #handle(message: Message, session: AnySession): unknown {
    this.began.push(message.name);
    this.log.push(message.name);
    const worked = this.#options.work?.(message, session);
    if (worked instanceof Promise || message.work !== undefined || message.deaf !== undefined) {
      return this.#handleSlowly(message, session, worked);
    }
    this.#fail(message, session);
    this.done.push(message.name);
    return worked;
  }

  async #handleSlowly(message: Message, session: AnySession, working: unknown): Promise<unknown> {
    try {
      const worked = await working;
      if (message.work !== undefined) await sleep(message.work);
      const { deaf } = message;
      if (deaf !== undefined) {
        await new Promise<void>((resolve) => this.clock.wakeAfter(deaf, resolve));
      }
      this.#fail(message, session);
      this.done.push(message.name);
      return worked;
    } catch (error) {
      if (error instanceof CancelledError) this.log.push(`${message.name} cancelled`);
      throw error;
    }
  }

  #fail(message: Message, session: AnySession): void {
    if ((session.delivery?.attempt ?? 1) <= (message.fails ?? 0)) {
      throw new Error(`${message.name} failed`);
    }
  }

  /** Sends without waiting for each, and lets everything run as far as it can. */
  async send(...messages: Message[]): Promise<void> {
    for (const message of messages) {
      this.router.send(message).catch((error: unknown) => {
        this.log.push(`${message.name} refused: ${(error as Error).name}`);
      });
    }
    await this.clock.settle();
  }

  /** Consumes a source that stays open until it is ended. */
  async consume(
    messages: readonly Message[],
    options: MemorySourceOptions<Message> = {},
  ): Promise<MemorySource<Message>> {
    const source = memorySource(messages, { keepOpen: true, ...options });
    this.source = source;
    this.consuming = this.router.consume(source);
    this.consuming.catch(() => {});
    await this.clock.settle();
    return source;
  }

  async push(...messages: Message[]): Promise<void> {
    this.source?.push(...messages);
    await this.clock.settle();
  }

  /** What became of each delivery: `a1 done`, `a2 dead exhausted`, in the order of settling. */
  get fates(): string[] {
    return (this.source?.outcomes ?? []).map(({ message, outcome, letter }) =>
      letter === undefined ? `${message.name} ${outcome}` : `${message.name} dead ${letter.reason}`,
    );
  }

  get letters(): string[] {
    return this.router.letters().map(letterText);
  }

  /** The end reasons that were counted. */
  get ends(): Partial<Record<EndReason, number>> {
    const counted = Object.entries(this.router.statistics().ended).filter(([, n]) => n > 0);
    return Object.fromEntries(counted);
  }

  /** Drains, and moves the time on as far as it takes. */
  async drain(deadlineMs?: number): Promise<Awaited<ReturnType<typeof this.router.drain>>> {
    const draining = this.router.drain(deadlineMs === undefined ? {} : { deadlineMs });
    let drained = false;
    void draining.then(() => (drained = true));
    await this.clock.settle();
    while (!drained && (await this.clock.next()));
    if (!drained) throw new Error(`Cannot drain: nothing moves any more\n${this.log.join("\n")}`);
    return draining;
  }
}

export function letterText(letter: DeadLetter<Message>): string {
  return `${letter.message.name} ${letter.reason}`;
}
