// The chats over a real WebSocket on this machine.
import { allTasks } from "heddle";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { chatRouter, type ChatRouter, type Histories } from "./chat.ts";
import { ChatClient } from "./client.ts";
import { fakeModel, fakeTools, memoryHistories } from "./model.ts";
import { playScript } from "./script.ts";
import { serveChats, type ChatServer } from "./server.ts";

let histories: Histories;
let router: ChatRouter;
let server: ChatServer;

beforeEach(async () => {
  histories = memoryHistories();
  // A token takes a millisecond, so that a client can interrupt what it reads.
  router = chatRouter({ model: fakeModel(1), tools: fakeTools(0), histories });
  server = await serveChats(router);
});

afterEach(async () => {
  await server.close();
  expect(router.statistics()).toMatchObject({ state: "closed", live: 0, leftovers: 0 });
  expect(allTasks()).toEqual([]);
});

test("serveChats plays the script to its end", async () => {
  let transcript = "";
  await playScript(server.url, (text) => {
    transcript += text;
  });
  expect(transcript).toContain("(connected; messages so far: 5)");
  expect(transcript).toContain("book(Oslo 08:25, window seat) done: seat 14 in coach 5, 08:25\n");
  expect(transcript).toMatch(/agent {2}You are welcome\.\n$/);
  expect(router.statistics()).toMatchObject({ started: 1, ended: { ended: 1 }, deadLettered: 0 });
});

test("serveChats gives a dropped client its session again, and what it has missed", async () => {
  const before = await ChatClient.connect(server.url, "trip");
  before.send({ type: "user", text: "Please book me a train." });
  const { message } = await before.until("tool", (event) => event.message.state === "asking");
  before.drop();
  await before.closed;

  const after = await ChatClient.connect(server.url, "trip");
  const { messages } = await after.until("history");
  expect(messages.at(-1)).toEqual(message);
  after.send({ type: "approval", call: message.call, granted: true });
  expect(await after.until("turnOver")).toEqual({ type: "turnOver", complete: true });
  expect(router.statistics().started).toBe(1);
  after.send({ type: "bye" });
  await after.closed;
});

test("serveChats keeps the histories of open chats when it closes", async () => {
  const client = await ChatClient.connect(server.url, "trip");
  client.send({ type: "user", text: "Please book me a train." });
  await client.until("tool", (event) => event.message.state === "asking");
  await server.close();
  expect(await client.closed).toBe(1000);
  const kept = await histories.load("trip");
  expect(kept.at(-1)).toMatchObject({ role: "tool", tool: "book", state: "interrupted" });
});

test.for(["hello", "null", '{"type":"user"}', '{"type":"approval","call":7,"granted":true}'])(
  "serveChats closes the line of a client that sends %s",
  async (text) => {
    const client = await ChatClient.connect(server.url, "trip");
    client.sendText(text);
    expect(await client.closed).toBe(1008);
  },
);

test("serveChats closes a line to no chat", async () => {
  const client = await ChatClient.connect(server.url, "not/a/name");
  expect(await client.closed).toBe(1008);
  expect(router.statistics().started).toBe(0);
});

test("main.ts plays the script and ends by itself", { timeout: 60_000 }, async () => {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [fileURLToPath(new URL("main.ts", import.meta.url))],
    { env: { ...process.env, NODE_OPTIONS: "" } },
  );
  expect(stdout).toMatch(/\nsessions started: 1, live: 0, messages kept: 10\n$/);
  expect(stderr).toBe("");
});
