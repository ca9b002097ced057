// The service of the report as it was. At a call's end its work is over and its
// binding is removed, but its task goes on waiting for a message that cannot come.
import { Lock } from "../../sync/lock.ts";
import { Queue } from "../../sync/queue.ts";
import { createTask } from "../../task/task.ts";
import { taskGroup } from "../../task/task-group.ts";
import type { DemoRun } from "../demo.ts";
import { productMsg, type CallEvent } from "./producer.ts";
import { runProgram, type DemoOutcome, type Print } from "./program.ts";

export function run(options: DemoRun): Promise<DemoOutcome> {
  return runProgram(async (print) => {
    const events = new Queue<CallEvent>();
    await taskGroup(async (group) => {
      group.createTask(() => productMsg((event) => events.put(event)));
      group.createTask(() => consumerFromQueue(events, print));
    });
  }, options);
}

async function consumerFromQueue(events: Queue<CallEvent>, print: Print): Promise<never> {
  const manager = new HandleManager();
  for (;;) {
    const event = await events.get();
    print(`consumer recv ${JSON.stringify(event)}`);
    if (event.msg === "start") {
      const queue = new Queue<CallEvent>();
      const handler = new HandleMsg(event.unid, queue, manager, print);
      await manager.unidBind(event.unid, queue);
      await queue.put(event);
      createTask(() => handler.getMsg());
    } else {
      const queue = await manager.getQueue(event.unid);
      await queue!.put(event);
    }
  }
}

class HandleManager {
  readonly #lock = new Lock();
  readonly #queues = new Map<string, Queue<CallEvent>>();

  async unidBind(unid: string, queue: Queue<CallEvent>): Promise<void> {
    await this.#lock.withLock(() => this.#queues.set(unid, queue));
  }

  async getQueue(unid: string): Promise<Queue<CallEvent> | undefined> {
    return await this.#lock.withLock(() => this.#queues.get(unid));
  }

  async delUnid(unid: string): Promise<void> {
    await this.#lock.withLock(() => this.#queues.delete(unid));
  }
}

class HandleMsg {
  readonly #unid: string;
  readonly #queue: Queue<CallEvent>;
  readonly #manager: HandleManager;
  readonly #print: Print;

  constructor(unid: string, queue: Queue<CallEvent>, manager: HandleManager, print: Print) {
    this.#unid = unid;
    this.#queue = queue;
    this.#manager = manager;
    this.#print = print;
  }

  async getMsg(): Promise<never> {
    for (;;) {
      const { msg } = await this.#queue.get();
      this.#print(`recv unid [${this.#unid}] is ${msg}`);
      if (msg === "end") await this.#manager.delUnid(this.#unid);
    }
  }
}
