// @ts-check
/** One part of the page's data: it loads, fails and refreshes apart from all others. */

import { batch, signal } from "@preact/signals";
import { Problem, ask } from "./api.js";

/**
 * Holds the last good answer of one address. Asking again for the same address is conditional; asking for another
 * one aborts what is under way. An old answer stays visible (and marked as loading) until the new one is there.
 */
export class Resource {
  /** @type {AbortController | null} */
  #running = null;
  #runningUrl = "";
  /** @type {string | null} */
  #etag = null;
  #etagUrl = "";

  constructor() {
    /** The last good answer. @type {import("@preact/signals").Signal<import("./api.js").Answer | null>} */
    this.answer = signal(null);
    /** The address it came from. */
    this.url = signal("");
    /** A newer answer of the same address that waits to be shown. @type {import("@preact/signals").Signal<import("./api.js").Answer | null>} */
    this.waiting = signal(null);
    /** Why the last attempt failed. @type {import("@preact/signals").Signal<Problem | null>} */
    this.problem = signal(null);
    /** Whether another address than the one shown is being asked. */
    this.loading = signal(false);
    /** When the server last said something good (milliseconds since 1970); a 304 counts. */
    this.confirmed = signal(0);
  }

  /** The parsed body of the last good answer. @returns {any} */
  get body() {
    return this.answer.value?.body ?? null;
  }

  /**
   * Load an address, or ask whether it has changed. Never rejects: a failure is part of the state.
   * @param {string} url
   * @param {{ hold?: () => boolean }} [options]  `hold` says whether a newer answer must wait to be shown
   * @returns {Promise<boolean>}  whether the server could be asked
   */
  async load(url, { hold = () => false } = {}) {
    if (this.#running !== null && this.#runningUrl === url) return true; // the same question is on its way
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    this.#runningUrl = url;
    const fresh = url !== this.url.peek();
    if (fresh) this.loading.value = true;
    try {
      const etag = this.#etagUrl === url ? this.#etag : null;
      const answer = await ask(url, { signal: running.signal, etag });
      if (this.#running !== running) return true;
      batch(() => {
        if (answer !== null) this.#take(answer, url, fresh, hold);
        else if (!hold()) this.release();
        this.problem.value = null;
        this.confirmed.value = Date.now();
      });
      return true;
    } catch (error) {
      if (running.signal.aborted || this.#running !== running) return true;
      batch(() => {
        this.problem.value = error instanceof Problem ? error : new Problem(0, String(error));
        if (fresh) {
          this.answer.value = null;
          this.waiting.value = null;
          this.url.value = "";
        }
      });
      return false;
    } finally {
      if (this.#running === running) {
        this.#running = null;
        this.loading.value = false;
      }
    }
  }

  /**
   * @param {import("./api.js").Answer} answer
   * @param {string} url
   * @param {boolean} fresh
   * @param {() => boolean} hold
   */
  #take(answer, url, fresh, hold) {
    this.#etag = answer.etag;
    this.#etagUrl = url;
    if (!fresh && hold()) {
      this.waiting.value = answer;
      return;
    }
    this.answer.value = answer;
    this.url.value = url;
    this.waiting.value = null;
  }

  /** Show the newer answer that waits. */
  release() {
    if (this.waiting.value === null) return;
    this.answer.value = this.waiting.value;
    this.waiting.value = null;
  }

  /** Give up what is under way, and forget the answer. */
  clear() {
    this.#running?.abort();
    this.#running = null;
    this.#etag = null;
    batch(() => {
      this.answer.value = null;
      this.waiting.value = null;
      this.problem.value = null;
      this.loading.value = false;
      this.url.value = "";
    });
  }
}
