// @ts-check
/** What the page asks for: each part of it has its own resource, and follows the view by itself. */

import { computed, effect, signal } from "@preact/signals";
import { zoneName } from "../format.js";
import { filterQuery, listQuery, statisticsQuery } from "../state.js";
import { address } from "./api.js";
import { refreshPage } from "./pages.js";
import { Resource } from "./resource.js";
import { tab, view } from "./store.js";

export const status = new Resource();
export const statistics = new Resource();
export const list = new Resource();
export const detail = new Resource();
export const categories = new Resource();
export const actions = new Resource();
export const session = new Resource();

/** Whether the reader is busy with the table, so that its rows must not move. */
export const tableBusy = signal(false);

/** The oldest event's time, once known; the whole archive's statistics begin there. */
export const oldest = computed(() => status.body?.oldest ?? null);

/** Whether the archive holds nothing yet. */
export const firstRun = computed(() => {
  const known = status.body;
  return known !== null && known.events === 0;
});

const statisticsUrl = computed(() =>
  address("events/statistics", statisticsQuery(view.value, zoneName(view.value.zone), oldest.value)),
);
const listUrl = computed(() => address("events", listQuery(view.value)));

/** The filter as the API takes it, for exports and commands. */
export const filter = computed(() => filterQuery(view.value));

const eventId = computed(() => view.value.event);

/** Load whatever the view asks for, now and after each change of it. */
export function follow() {
  session.load(address("session"));
  status.load(address("status"));
  categories.load(address("events/categories"));
  actions.load(address("events/actions"));
  effect(() => {
    if (tab.value === "events") statistics.load(statisticsUrl.value);
  });
  effect(() => {
    if (tab.value === "events") list.load(listUrl.value);
  });
  effect(() => {
    if (eventId.value === null) detail.clear();
    else detail.load(address(`events/${encodeURIComponent(eventId.value)}`));
  });
}

/**
 * Ask again for what is on screen.
 * @param {{ byHand?: boolean }} [options]  a reader who asks wants to see the rows at once
 * @returns {Promise<boolean>}  whether the server answered every question
 */
export async function refresh({ byHand = false } = {}) {
  const asked = [status.load(address("status"))];
  if (tab.value === "events") {
    asked.push(statistics.load(statisticsUrl.value));
    asked.push(list.load(listUrl.value, { hold: () => !byHand && tableBusy.value }));
  } else {
    asked.push(refreshPage(tab.value, { byHand }));
  }
  return (await Promise.all(asked)).every(Boolean);
}
