// @ts-check
/**
 * Every filter the page can hold, in one table: its name is the API's parameter, so that the page's address, the
 * list, the statistics and the export are the same query.
 */

import { PARAMETERS } from "./searchable.js";

/**
 * @typedef {object} Filter
 * @property {string} name   the API's parameter
 * @property {string} label  what people call it
 * @property {boolean} many  whether it may repeat (and be excluded by a leading `!`)
 */

const LABELS = new Map(PARAMETERS.map(({ name, label }) => [name, label]));

/** The order of the page; a parameter that is not named here comes behind these. */
const FIRST = Object.freeze(["level", "category", "action", "outcome", "risk"]);

/**
 * @param {string} name
 * @returns {Filter}
 */
const parameter = (name) => Object.freeze({ name, label: LABELS.get(name) ?? name, many: true });

/** @type {readonly Filter[]} */
export const FILTERS = Object.freeze([
  { name: "search_query", label: "Search", many: false },
  { name: "q", label: "Query", many: false },
  ...FIRST.map(parameter),
  { name: "min_risk", label: "Risk at least", many: false },
  { name: "max_risk", label: "Risk at most", many: false },
  ...PARAMETERS.filter(({ name }) => !FIRST.includes(name)).map(({ name }) => parameter(name)),
  { name: "subject", label: "Person", many: false },
  { name: "internal", label: "Watchkeep's own events", many: false },
]);

const BY_NAME = new Map(FILTERS.map((filter) => [filter.name, filter]));

/**
 * @param {string} name
 * @returns {Filter | undefined}
 */
export function filterNamed(name) {
  return BY_NAME.get(name);
}

/**
 * The values of one filter in a view, empty when it is not set.
 * @param {import("./state.js").View} view
 * @param {string} name
 * @returns {readonly string[]}
 */
export function valuesOf(view, name) {
  return view.filters[name] ?? [];
}

/**
 * All set filters as rows for display: one per value.
 * @param {import("./state.js").View} view
 */
export function activeFilters(view) {
  return FILTERS.flatMap((filter) =>
    valuesOf(view, filter.name).map((value) => ({
      filter,
      value,
      excluded: filter.many && value.startsWith("!"),
      text: filter.many && value.startsWith("!") ? value.slice(1) : value,
    })),
  );
}

/**
 * Filters with one value of one filter switched on or off.
 * @param {import("./state.js").View} view
 * @param {string} name
 * @param {string} value
 */
export function toggled(view, name, value) {
  const values = valuesOf(view, name);
  const next = values.includes(value) ? values.filter((other) => other !== value) : [...values, value];
  return replaced(view, name, next);
}

/**
 * Filters that ask for one value (or leave it out) and say nothing else about the field.
 * @param {import("./state.js").View} view
 * @param {string} name
 * @param {string} value
 * @param {boolean} [excluded]
 */
export function only(view, name, value, excluded = false) {
  if (!excluded) return replaced(view, name, [value]);
  const kept = valuesOf(view, name).filter((other) => other !== value && other !== `!${value}`);
  return replaced(view, name, [...kept, `!${value}`]);
}

/**
 * Filters with one field's values replaced; an empty list removes the field.
 * @param {import("./state.js").View} view
 * @param {string} name
 * @param {readonly string[]} values
 * @returns {Record<string, readonly string[]>}
 */
export function replaced(view, name, values) {
  const { [name]: _, ...others } = view.filters;
  return values.length === 0 ? others : { ...others, [name]: values };
}
