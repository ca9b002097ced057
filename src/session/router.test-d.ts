// The types that users see: message, key, state and result follow from the
// key's annotation and from what the functions return, in both styles.
import { expectTypeOf, test } from "vitest";
import type { DeadLetter } from "../message/delivery.ts";
import { memorySource } from "../broker/memory/index.ts";
import { defineSessions } from "./define.ts";
import type { EndReason, RouterStatistics, Session } from "./options.ts";
import { SessionRouter } from "./router.ts";
import type { StandardSchemaV1 } from "./standard-schema.ts";

interface Order {
  readonly id: string;
  readonly total: number;
}

interface Numbered {
  readonly no: number;
}

declare const order: Order;

test("SessionRouter hands its handler the message type that key was given", () => {
  new SessionRouter({
    key: (message: Order) => message.id,
    message(message, session) {
      expectTypeOf(message).toEqualTypeOf<Order>();
      expectTypeOf(session.key).toEqualTypeOf<string>();
      expectTypeOf(session.state).toEqualTypeOf<undefined>();
      // @ts-expect-error a message has no such field
      void message.totl;
    },
  });
  new SessionRouter({
    key: (message: Order) => message.id,
    async session(session) {
      expectTypeOf(session.key).toEqualTypeOf<string>();
      expectTypeOf(await session.receive()).toEqualTypeOf<Order | undefined>();
      for await (const message of session) {
        expectTypeOf(message).toEqualTypeOf<Order>();
        // @ts-expect-error a message has no such field
        void message.totl;
      }
    },
  });
});

test("SessionRouter takes numbers for keys", () => {
  const router = new SessionRouter({
    key: (message: Numbered) => message.no,
    message(_message, session) {
      expectTypeOf(session.key).toEqualTypeOf<number>();
    },
  });
  expectTypeOf(router.cancel).parameter(0).toEqualTypeOf<number>();
  // @ts-expect-error the keys are numbers
  router.cancel("1");
  new SessionRouter({
    // @ts-expect-error a key is a string or a number
    key: (message: Numbered) => new Date(message.no),
    message() {},
  });
});

test("SessionRouter gives every option the message type", () => {
  new SessionRouter({
    key: (message: Order) => message.id,
    starts: (message) => message.total > 0,
    ends(message) {
      expectTypeOf(message).toEqualTypeOf<Order>();
      return false;
    },
    time(message) {
      expectTypeOf(message).toEqualTypeOf<Order>();
      return 0;
    },
    interrupts(message, session) {
      expectTypeOf(message).toEqualTypeOf<Order>();
      expectTypeOf(session.key).toEqualTypeOf<string>();
      return false;
    },
    retryDelayMs(attempt, error, message) {
      expectTypeOf(attempt).toEqualTypeOf<number>();
      expectTypeOf(error).toEqualTypeOf<unknown>();
      expectTypeOf(message).toEqualTypeOf<Order>();
      return undefined;
    },
    deadLetter(letter) {
      expectTypeOf(letter).toEqualTypeOf<DeadLetter<Order, string>>();
    },
    message() {},
  });
});

test("SessionRouter gives handlers, ended and stopped the state that state made, in message style", () => {
  new SessionRouter({
    key: (message: Order) => message.id,
    state: (key, saved) => {
      expectTypeOf(key).toEqualTypeOf<string>();
      expectTypeOf(saved).toEqualTypeOf<unknown>();
      return { count: 0 };
    },
    message(_message, session) {
      expectTypeOf(session.state).toEqualTypeOf<{ count: number }>();
      session.state.count++;
      void session.save({ count: 1 });
      // @ts-expect-error not the state
      void session.save({ amount: 1 });
    },
    ended(session, reason) {
      expectTypeOf(session.state).toEqualTypeOf<{ count: number }>();
      expectTypeOf(reason).toEqualTypeOf<EndReason>();
    },
    stopped(session) {
      expectTypeOf(session.state).toEqualTypeOf<{ count: number }>();
    },
  });
});

test("SessionRouter gives handlers the state in loop style, also an async one and after the handler", () => {
  new SessionRouter({
    key: (message: Order) => message.id,
    state: async () => ({ count: 0 }),
    async session(session) {
      expectTypeOf(session.state).toEqualTypeOf<{ count: number }>();
      for await (const message of session) session.state.count += message.total;
    },
  });
  new SessionRouter({
    key: (message: Order) => message.id,
    state: (key) => ({ key, seen: new Set<number>() }),
    async session(session) {
      expectTypeOf(session.state.seen).toEqualTypeOf<Set<number>>();
      for await (const message of session) session.state.seen.add(message.total);
    },
  });
});

test("SessionRouter gives output what the handler returns", () => {
  new SessionRouter({
    key: (message: Order) => message.id,
    message(message) {
      return message.total > 0 ? { paid: message.total } : undefined;
    },
    output(value, session) {
      expectTypeOf(value).toEqualTypeOf<{ paid: number }>();
      expectTypeOf(session.key).toEqualTypeOf<string>();
    },
  });
  new SessionRouter({
    key: (message: Order) => message.id,
    async session(session) {
      let total = 0;
      for await (const message of session) total += message.total;
      return { total };
    },
    output(value) {
      expectTypeOf(value).toEqualTypeOf<{ total: number }>();
    },
  });
});

test("SessionRouter gives callers what the handler returns", async () => {
  const router = new SessionRouter({
    key: (message: Order) => message.id,
    async message(message) {
      return { paid: message.total };
    },
  });
  expectTypeOf(await router.call(order)).toEqualTypeOf<{ paid: number } | undefined>();
});

test("SessionRouter's methods take and give its own types", async () => {
  const router = new SessionRouter({
    key: (message: Order) => message.id,
    state: () => ({ count: 0 }),
    message() {},
  });
  expectTypeOf(router.send).parameter(0).toEqualTypeOf<Order>();
  expectTypeOf(router.trySend(order)).toEqualTypeOf<boolean>();
  expectTypeOf(router.session("a")).toEqualTypeOf<
    Session<Order, string, { count: number }> | undefined
  >();
  expectTypeOf([...router.sessions()]).toEqualTypeOf<Session<Order, string, { count: number }>[]>();
  expectTypeOf(router.statistics()).toEqualTypeOf<RouterStatistics<string>>();
  expectTypeOf(router.letters()).toEqualTypeOf<DeadLetter<Order, string>[]>();
  await router.consume([order]);
  await router.consume(memorySource([order]));
  // @ts-expect-error not its messages
  await router.consume([{ no: 1 }]);
  // @ts-expect-error not its message
  await router.send({ no: 1 });
  router.session("a")?.sendAfter(5, order);
  // @ts-expect-error not its message
  router.session("a")?.sendAfter(5, { no: 1 });
});

test("SessionRouter's sessions give tasks and promises back as they are typed", () => {
  new SessionRouter({
    key: (message: Order) => message.id,
    async message(message, session) {
      expectTypeOf(await session.createTask(async () => message.total)).toEqualTypeOf<number>();
      expectTypeOf(await session.keepAlive(Promise.resolve("kept"))).toEqualTypeOf<string>();
      expectTypeOf(session.signal).toEqualTypeOf<AbortSignal>();
      expectTypeOf(session.endReason).toEqualTypeOf<EndReason | undefined>();
      expectTypeOf(session.fence).toEqualTypeOf<bigint | undefined>();
      // @ts-expect-error the key is not to be written
      session.key = "b";
    },
  });
});

test("SessionRouter takes the message type from a schema as well", () => {
  const schema = {} as StandardSchemaV1<unknown, Order>;
  new SessionRouter({
    schema,
    key: (message: Order) => message.id,
    message(message) {
      expectTypeOf(message).toEqualTypeOf<Order>();
    },
  });
});

test("SessionRouter refuses options of the other style, words that it does not know, and both handlers", () => {
  // @ts-expect-error interrupts is for message style
  new SessionRouter({
    key: (message: Order) => message.id,
    interrupts: () => true,
    async session() {},
  });
  // @ts-expect-error one of two handlers
  new SessionRouter({ key: (message: Order) => message.id, async session() {}, message() {} });
  // @ts-expect-error a handler is needed
  new SessionRouter({ key: (message: Order) => message.id });
  // @ts-expect-error no such word
  new SessionRouter({ key: (message: Order) => message.id, message() {}, overflow: "block" });
  // @ts-expect-error no such option
  new SessionRouter({ key: (message: Order) => message.id, message() {}, idleMS: 5 });
});

test("defineSessions infers as SessionRouter does, and keeps the definition's type", () => {
  const definition = defineSessions({
    key: (message: Order) => message.id,
    state: () => 0,
    parse: (line) => {
      expectTypeOf(line).toEqualTypeOf<string>();
      return JSON.parse(line) as Order;
    },
    async session(session) {
      expectTypeOf(session.state).toEqualTypeOf<number>();
      for await (const message of session) session.state += message.total;
      return session.state;
    },
    output(value) {
      expectTypeOf(value).toEqualTypeOf<number>();
    },
  });
  expectTypeOf(definition.key).toEqualTypeOf<((message: Order) => string) | undefined>();
});
