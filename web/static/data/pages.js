// @ts-check
/** The pages behind the first one, and parts that are seldom open: loaded when they are first shown, so that a first visit stays small. */

import { signal } from "@preact/signals";

/**
 * @typedef {object} PageModule
 * @property {(props: any) => any} Page
 * @property {(options?: { byHand?: boolean }) => Promise<boolean>} [load]  asks for what the page shows; whether that was answered
 */

/** @type {Record<string, () => Promise<PageModule>>} */
const LOADERS = {
  alerts: () => import("../pages/alerts.js"),
  rules: () => import("../pages/rules.js"),
  channels: () => import("../pages/channels.js"),
  profile: () => import("../pages/profile.js"),
  logs: () => import("../pages/logs.js"),
  first: () => import("../parts/first-run.js"),
  faces: () => import("../parts/faces.js"),
  dialog: () => import("../parts/event-dialog.js"),
};

/** What was loaded so far, or why that failed. @type {import("@preact/signals").Signal<Record<string, PageModule | Error>>} */
const loaded = signal({});

/** @type {Set<string>} */
const asked = new Set();

/**
 * The module of a page; null while it is on its way, an Error when it cannot be had.
 * @param {string} tab
 */
export function pageOf(tab) {
  const found = loaded.value[tab];
  const loader = LOADERS[tab];
  if (found === undefined && loader !== undefined && !asked.has(tab)) {
    asked.add(tab);
    loader()
      .catch((error) => {
        console.error(error); // the page says that it is missing, this says why
        return error instanceof Error ? error : new Error(String(error));
      })
      .then((module) => {
        loaded.value = { ...loaded.peek(), [tab]: module };
      });
  }
  return found ?? null;
}

/**
 * Ask again for what a page shows.
 * @param {string} tab
 * @param {{ byHand?: boolean }} options
 */
export async function refreshPage(tab, options) {
  const page = loaded.peek()[tab];
  return page === undefined || page instanceof Error || page.load === undefined ? true : page.load(options);
}
