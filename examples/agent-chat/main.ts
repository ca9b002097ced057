// Plays a scripted conversation over a real WebSocket on this machine, and ends.
import { run } from "heddle";
import { chatRouter } from "./chat.ts";
import { fakeModel, fakeTools, memoryHistories } from "./model.ts";
import { playScript } from "./script.ts";
import { serveChats } from "./server.ts";

await run(async () => {
  const histories = memoryHistories();
  const router = chatRouter({ model: fakeModel(40), tools: fakeTools(300), histories });
  const server = await serveChats(router);
  try {
    await playScript(server.url, (text) => process.stdout.write(text));
  } finally {
    await server.close();
  }
  const { started, live } = router.statistics();
  const kept = await histories.load("trip");
  console.log(`sessions started: ${started}, live: ${live}, messages kept: ${kept.length}`);
});
