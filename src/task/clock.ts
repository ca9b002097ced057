// The only file that touches the machine's timers. Everything else is handed a
// clock, so that a test can hand in one whose time it moves itself.

/** Where a task learns the time and how it waits for a later one. */
export interface Clock {
  /** Milliseconds since some fixed instant; never runs backwards */
  now(): number;
  /** Calls `wake` once, `delayMs` from now, never early; the returned function calls it off */
  wakeAfter(delayMs: number, wake: () => void): () => void;
}

// The longest delay that setTimeout takes; longer ones are waited for in parts.
const longestTimer = 2 ** 31 - 1;

/** The machine's clock: milliseconds since the Unix epoch, taken from a monotonic source. */
export const systemClock: Clock = {
  now(): number {
    return performance.timeOrigin + performance.now();
  },
  wakeAfter(delayMs: number, wake: () => void): () => void {
    if (delayMs === Infinity) return doNothing;
    return new MachineTimer(delayMs, wake).cancel;
  },
};

class MachineTimer {
  readonly #due: number;
  readonly #wake: () => void;
  #timer: NodeJS.Timeout;

  constructor(delayMs: number, wake: () => void) {
    this.#due = performance.now() + delayMs;
    this.#wake = wake;
    this.#timer = this.#arm(delayMs);
  }

  readonly cancel = (): void => clearTimeout(this.#timer);

  #arm(delayMs: number): NodeJS.Timeout {
    return setTimeout(this.#fire, Math.min(Math.ceil(delayMs), longestTimer));
  }

  readonly #fire = (): void => {
    // The machine's timers count whole milliseconds of a cached clock and can
    // be up to one early.
    const left = this.#due - performance.now();
    if (left > 0) this.#timer = this.#arm(left);
    else this.#wake();
  };
}

function doNothing(): void {}

// The turns of the event loop: how long this one has lasted, for what must let
// timers and sockets have theirs (a loop of checkpoints, a batch of messages).
let turnBegan = -1;

/** How long ago this turn of the event loop was first looked at, in milliseconds. @internal */
export function turnMs(): number {
  if (turnBegan >= 0) return performance.now() - turnBegan;
  turnBegan = performance.now();
  setImmediate(forgetTurn);
  return 0;
}

function forgetTurn(): void {
  turnBegan = -1;
}

// A virtual clock moves on only when nothing is ready: it asks how many still come.
let awaited = 0;

/** Calls `wake` in the next turn of the event loop. @internal */
export function nextTurn(wake: () => void): void {
  awaited++;
  setImmediate(wakeInTurn, wake);
}

function wakeInTurn(wake: () => void): void {
  awaited--;
  wake();
}

/** How many wait for the next turn of the event loop. @internal */
export function turnsAwaited(): number {
  return awaited;
}
