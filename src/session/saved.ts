// What `session.save()` stored, and where: a store that was handed in, the
// source's, or this process.
import type { Key } from "../message/delivery.ts";
import type { StateStore } from "../message/source.ts";
import { isThenable } from "../task/task.ts";
import { RESUMED, SAVED, type LiveSession } from "./session.ts";

/** @internal */
export class SavedStates {
  #store: StateStore | undefined;
  readonly #given: boolean;
  readonly #here = new Map<Key, unknown>();

  constructor(store: StateStore | undefined) {
    this.#store = store;
    this.#given = store !== undefined;
  }

  /** A source's own store, unless the user has handed one in. */
  offer(store: StateStore | undefined): void {
    if (!this.#given && store !== undefined) this.#store = store;
  }

  /** Whether there may be something for `key`; a store is to be asked each time. */
  mayHave(key: Key): boolean {
    return this.#store !== undefined || this.#here.has(key);
  }

  /** What is stored for the session's key, and its fence where the store has one. */
  load(session: LiveSession): unknown {
    const store = this.#store;
    if (store === undefined) return this.#here.get(session.key);
    if (store.fence === undefined || session.extra?.fence !== undefined) {
      return store.load(session.key);
    }
    return this.#loadFenced(store, session);
  }

  async #loadFenced(store: StateStore, session: LiveSession): Promise<unknown> {
    // The fence first: what is loaded after it is what earlier owners could write.
    session.needExtra().fence = await store.fence?.(session.key);
    return store.load(session.key);
  }

  async save(session: LiveSession, state: unknown): Promise<void> {
    session.bits |= SAVED;
    if (this.#store === undefined) {
      this.#here.set(session.key, state);
      return;
    }
    const storing = this.#store.save(session.key, state);
    if (!isThenable(storing)) return;
    // Nobody need await a save: what it covers is settled after it all the same.
    const extra = session.needExtra();
    const saving = Promise.allSettled([extra.saving, storing]).then(() => {
      if (extra.saving === saving) extra.saving = undefined;
    });
    extra.saving = saving;
    await storing;
  }

  /** Whether the end of the session is the end of what was saved for its key. */
  mustForget(session: LiveSession): boolean {
    const { endReason } = session;
    return (
      (endReason === "ended" || endReason === "returned" || endReason === "replaced") &&
      session.has(SAVED | RESUMED)
    );
  }

  async forget(session: LiveSession): Promise<void> {
    session.bits &= ~(SAVED | RESUMED);
    this.#here.delete(session.key);
    const deleting = this.#store?.delete(session.key);
    if (isThenable(deleting)) await deleting;
  }
}
