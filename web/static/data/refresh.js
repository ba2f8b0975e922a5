// @ts-check
/** Asking again by itself: at the chosen interval, never while the page is hidden, slower while the server fails. */

import { computed, effect, signal } from "@preact/signals";
import { REFRESH_SECONDS } from "../state.js";
import { firstRun, refresh } from "./queries.js";
import { view } from "./store.js";

const FALLBACK_SECONDS = 30;
const WAITING_SECONDS = 2; // while the archive is empty, somebody sits before the page and waits
const JITTER = 0.1; // of the interval, so that many open pages do not ask in step
const SLOWEST_SECONDS = 300; // between attempts while the server does not answer

/** What the server was set up with; the page's address may say otherwise. */
const serverDefault = () => {
  const said = Number(document.body.dataset.refreshSeconds);
  return REFRESH_SECONDS.includes(said) ? said : FALLBACK_SECONDS;
};

/** Seconds between refreshes; 0 is off. */
export const interval = computed(() => view.value.refresh ?? serverDefault());

/** Whether the page is hidden, and therefore asks nothing. */
export const hidden = signal(document.hidden);

/** How many rounds in a row failed. */
export const failures = signal(0);

/** How many rounds were made, for whoever wants to see that it runs. */
export const rounds = signal(0);

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** Ask now, and count the interval from here. @param {{ byHand?: boolean }} [options] */
export async function refreshNow(options) {
  clearTimeout(timer);
  const good = await refresh(options);
  failures.value = good ? 0 : failures.peek() + 1;
  rounds.value = rounds.peek() + 1;
  plan();
}

function plan() {
  clearTimeout(timer);
  const base = firstRun.peek() ? WAITING_SECONDS : interval.peek();
  if (base === 0 || hidden.peek()) return;
  const slower = Math.min(SLOWEST_SECONDS, base * 2 ** Math.min(failures.peek(), 8));
  const seconds = Math.max(base, slower) * (1 + JITTER * (Math.random() - 0.5));
  timer = setTimeout(() => void refreshNow(), seconds * 1000);
}

/** Begin to refresh; the first round is due one interval from now. */
export function keepFresh() {
  let wasHidden = false;
  document.addEventListener("visibilitychange", () => {
    hidden.value = document.hidden;
  });
  effect(() => {
    const isHidden = hidden.value;
    const waiting = firstRun.value; // read apart, or the effect would not follow it
    const on = interval.value > 0 || waiting;
    if (wasHidden && !isHidden && on) void refreshNow(); // what was missed meanwhile
    else plan();
    wasHidden = isHidden;
  });
}
