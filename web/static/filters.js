// @ts-check
/**
 * Every filter the page can hold, in one table: its name is the API's parameter, so that the page's address, the
 * list, the statistics and the export are the same query.
 */

/**
 * @typedef {object} Filter
 * @property {string} name   the API's parameter
 * @property {string} label  what people call it
 * @property {boolean} many  whether it may repeat (and be excluded by a leading `!`)
 */

/** @type {readonly Filter[]} */
export const FILTERS = Object.freeze([
  { name: "search_query", label: "Search", many: false },
  { name: "level", label: "Level", many: true },
  { name: "category", label: "Category", many: true },
  { name: "action", label: "Action", many: true },
  { name: "outcome", label: "Outcome", many: true },
  { name: "risk", label: "Risk", many: true },
  { name: "min_risk", label: "Risk at least", many: false },
  { name: "max_risk", label: "Risk at most", many: false },
  { name: "username", label: "User", many: true },
  { name: "user_id", label: "User ID", many: true },
  { name: "ip", label: "IP address", many: true },
  { name: "country", label: "Country", many: true },
  { name: "city", label: "City", many: true },
  { name: "entity_type", label: "Entity type", many: true },
  { name: "entity_id", label: "Entity ID", many: true },
  { name: "entity_name", label: "Entity", many: true },
  { name: "correlation_id", label: "Correlation", many: true },
  { name: "session_id", label: "Session", many: true },
  { name: "method", label: "Method", many: true },
  { name: "path", label: "Path", many: true },
  { name: "status_code", label: "Status", many: true },
  { name: "user_agent", label: "User agent", many: true },
  { name: "server", label: "Server", many: true },
  { name: "environment", label: "Environment", many: true },
  { name: "source", label: "Source", many: true },
  { name: "tag", label: "Tag", many: true },
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
