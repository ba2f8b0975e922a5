// @ts-check
/** The search that is written: checked and translated by the server, which alone knows the grammar. */

import { signal } from "@preact/signals";
import { FILTERS, activeFilters } from "../filters.js";
import { Problem, address, ask } from "./api.js";
import { navigate, view } from "./store.js";

/** Why the last search could not be read. @type {import("@preact/signals").Signal<Problem | null>} */
export const wrong = signal(null);

/** What stands in the box and is wrong. */
export const wrongText = signal("");

/** @type {AbortController | null} */
let running = null;

/**
 * Ask for the four forms of a filter; a newer question ends the one before.
 * @param {URLSearchParams} query
 * @returns {Promise<any>}  null when a newer question came
 */
async function explained(query) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  try {
    const answer = await ask(address("events/explain", query), { signal: mine.signal });
    return running === mine ? answer?.body : null;
  } catch (error) {
    if (mine.signal.aborted) return null;
    throw error;
  }
}

/**
 * Change the filters by what the server says of a question; what is wrong with it is kept for the box to show.
 * @param {URLSearchParams} query
 * @param {(explained: any) => Record<string, readonly string[]>} change
 * @param {string} [text]  what was written
 * @returns {Promise<boolean>}
 */
async function goTo(query, change, text = "") {
  try {
    const found = await explained(query);
    if (found === null) return false;
    wrong.value = null;
    navigate({ event: null, pane: "overview", filters: change(found) });
    return true;
  } catch (error) {
    wrong.value = error instanceof Problem ? error : new Problem(0, String(error));
    wrongText.value = text;
    return false;
  }
}

/** The filters but for one. @param {string} name */
function without(name) {
  const { [name]: _, ...others } = view.peek().filters;
  return others;
}

/**
 * Search for what is written, if it can be read.
 * @param {string} text
 */
export async function search(text) {
  const q = text.trim();
  if (q === "") {
    wrong.value = null;
    navigate({ filters: without("q") });
    return true;
  }
  return goTo(new URLSearchParams({ q }), () => ({ ...without("q"), q: [q] }), q);
}

/**
 * Narrow the search by one more condition, written as a row of a form. What was written stays as it is.
 * @param {{ field: string, path?: string[], operator: string, values: string[], exclude: boolean }} row
 */
export async function addCondition(row) {
  const query = new URLSearchParams({ form: JSON.stringify([row]) });
  const now = view.peek().filters.q?.[0];
  return goTo(query, (found) => ({ ...without("q"), q: [now === undefined ? found.q : `${/\bOR\b/.test(now) ? `(${now})` : now} ${found.q}`] }));
}

/** The filters alone as a query: times stay what they are. */
function filtersAlone() {
  const query = new URLSearchParams();
  for (const { filter, value } of activeFilters(view.peek())) query.append(filter.name, value);
  return query;
}

/** Write all filters as one search. */
export async function asSearch() {
  const { internal } = view.peek().filters;
  const kept = internal === undefined ? {} : { internal };
  return goTo(filtersAlone(), (found) => (found.q ? { ...kept, q: [found.q] } : kept));
}

/** Take out of the search what filters can say. */
export async function asFilters() {
  return goTo(filtersAlone(), (found) => {
    const said = new URLSearchParams(found.url);
    return Object.fromEntries(
      FILTERS.map(({ name }) => [name, said.getAll(name)]).filter(([, values]) => values !== undefined && values.length > 0),
    );
  });
}
