"""CPython's asyncio under the same load: a queue and a task for each key.

Called as `keyed_asyncio.py QUESTION PLAN`; prints one line of JSON, as
bench/support/child.ts does.
"""

import asyncio
import gc
import json
import resource
import sys
import time

totals = {"started": 0, "ended": 0, "handled": 0, "sum": 0}


class Message:
    __slots__ = ("key", "kind", "n")

    def __init__(self, key, kind, n):
        self.key = key
        self.kind = kind
        self.n = n


class Counter:
    __slots__ = ("handled", "sum")

    def __init__(self):
        self.handled = 0
        self.sum = 0


def work(counter, message):
    counter.handled += 1
    counter.sum += message.n
    totals["handled"] += 1
    if message.kind == "start":
        totals["started"] += 1
    elif message.kind == "end":
        totals["ended"] += 1
        totals["sum"] += counter.sum


async def session(queue):
    counter = Counter()
    while True:
        message = await queue.get()
        work(counter, message)
        if message.kind == "end":
            return


class Router:
    def __init__(self):
        self.queues = {}
        # The event loop keeps only weak references to tasks.
        self.tasks = set()

    def push(self, message):
        queue = self.queues.get(message.key)
        if queue is None:
            queue = self.queues[message.key] = asyncio.Queue()
            task = asyncio.create_task(session(queue))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        queue.put_nowait(message)
        if message.kind == "end":
            del self.queues[message.key]


def session_messages(blocks, live, per_session):
    """Made as they are sent, a new object with a key of its own each, as a parser gives them."""
    for block in range(blocks):
        for n in range(per_session):
            kind = "start" if n == 0 else "end" if n == per_session - 1 else "msg"
            for k in range(live):
                yield Message(f"session-{block * live + k}", kind, n)


async def feed(router, messages, chunk):
    before = totals["handled"]
    push = router.push
    count = 0
    for message in messages:
        push(message)
        count += 1
        if count % chunk == 0:
            await asyncio.sleep(0)
    while totals["handled"] < before + count:
        await asyncio.sleep(0)
    return count


async def messages_per_second(plan):
    router = Router()

    async def passes(at_least_ms):
        handled = 0
        start = time.perf_counter()
        while True:
            messages = session_messages(plan["blocks"], plan["live"], plan["perSession"])
            handled += await feed(router, messages, plan["chunk"])
            seconds = time.perf_counter() - start
            if seconds * 1000 >= at_least_ms:
                return handled / seconds

    await passes(plan["warmMs"])
    value = await passes(plan["measureMs"])
    per_session = plan["perSession"]
    ended = totals["ended"]
    assert totals["started"] == ended, totals
    assert totals["handled"] == ended * per_session, totals
    assert totals["sum"] == ended * per_session * (per_session - 1) // 2, totals
    return value


def resident_bytes():
    """What the process holds; tracemalloc would take more than it measures."""
    gc.collect()
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


async def bytes_per_session(plan):
    messages = [Message(f"idle-{n}", "start", n) for n in range(plan["sessions"])]
    router = Router()
    await feed(router, session_messages(3, 1_000, 4), plan["chunk"])
    before = resident_bytes()
    await feed(router, messages, plan["chunk"])
    value = (resident_bytes() - before) / len(messages)
    assert totals["started"] - totals["ended"] == len(messages), totals
    return value


async def main(question, plan):
    if question == "memory":
        value = await bytes_per_session(plan)
    else:
        value = await messages_per_second(plan)
        if question == "churn":
            value /= plan["perSession"]
    print(json.dumps({"value": value}), flush=True)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
