// @ts-check
/**
 * The view is its address. Everything the page shows follows from one frozen `View`, read from and written to the
 * query string; nothing else remembers what was chosen. Pure: no window, no clock, no network.
 */

import { FILTERS, filterNamed } from "./filters.js";

/** The seconds between refreshes that can be chosen; 0 is off. */
export const REFRESH_SECONDS = Object.freeze([0, 5, 10, 30, 60]);
/** The rows of a page that can be chosen. */
export const PAGE_SIZES = Object.freeze([25, 50, 100, 200]);
/** The lines of the log tab that can be chosen. */
export const LOG_LINES = Object.freeze([100, 500, 1000, 5000]);
/** The pages. */
export const TABS = Object.freeze(/** @type {const} */ (["events", "alerts", "rules", "channels", "profile", "logs"]));
/** Which alerts the list shows: those that are not over, one state, or all. */
export const ALERT_STATES = Object.freeze(["", "open", "acknowledged", "resolved", "all"]);
/** Which rules the list shows. */
export const RULE_STATES = Object.freeze(["", "working", "not"]);
/** How far back a rule is tried, and a profile looks, in days. */
export const DAYS = Object.freeze([1, 7, 30, 90, 365]);
/** The tabs of an event's dialog. */
export const PANES = Object.freeze(["overview", "request", "metadata", "raw"]);

const DEFAULT_RANGE = "-24h";
const DEFAULT_LIMIT = 50;
const DEFAULT_LINES = 500;
const DEFAULT_DAYS = 30;
const RELATIVE = /^-\d{1,5}[smhdw]$/;
const DAY = /^\d{4}-\d{2}-\d{2}$/;

/**
 * @typedef {object} View
 * @property {typeof TABS[number]} tab
 * @property {string} start     the API's `start_date`: relative (`-24h`), a day, or an instant; "" is open
 * @property {string} end       the API's `end_date`; "" is now
 * @property {Readonly<Record<string, readonly string[]>>} filters  values by API parameter; a leading `!` excludes
 * @property {number} limit     rows of a page
 * @property {number} page      from 1
 * @property {number | null} snapshot  the archive's seq that pages after the first are read at
 * @property {number | null} refresh   seconds between refreshes, 0 off, null the server's default
 * @property {"local" | "utc"} zone
 * @property {string | null} event  the event whose dialog is open
 * @property {string} pane      the dialog's tab
 * @property {string} logDate   the day shown by the log tab, "" today
 * @property {number} logLines
 * @property {string} logSource
 * @property {string | null} alert  the alert that is open
 * @property {string} alertState    one of `ALERT_STATES`
 * @property {readonly string[]} severities  levels of alerts that are shown, none: all
 * @property {string} alertRule     only alerts of this rule
 * @property {string} alertWords    only alerts with this text
 * @property {string | null} rule   the rule that is open; `new` is a text that is tried
 * @property {string} ruleState     one of `RULE_STATES`
 * @property {string} ruleWords     only rules with this text
 * @property {number} tested        days over which the open rule is tried, 0: not at all
 * @property {readonly string[]} silence  matchers of a silence that is being written
 * @property {string | null} profile  whose profile: `user/ID`, or `entity/TYPE/ID`, each part percent-encoded
 * @property {number} days          how far back the profile looks
 */

/** @type {View} */
export const DEFAULT_VIEW = Object.freeze({
  tab: "events",
  start: DEFAULT_RANGE,
  end: "",
  filters: Object.freeze({}),
  limit: DEFAULT_LIMIT,
  page: 1,
  snapshot: null,
  refresh: null,
  zone: "local",
  event: null,
  pane: "overview",
  logDate: "",
  logLines: DEFAULT_LINES,
  logSource: "",
  alert: null,
  alertState: "",
  severities: Object.freeze([]),
  alertRule: "",
  alertWords: "",
  rule: null,
  ruleState: "",
  ruleWords: "",
  tested: 0,
  silence: Object.freeze([]),
  profile: null,
  days: DEFAULT_DAYS,
});

/** What the pages behind the first one remember, and how the address calls it. */
const PLAIN = Object.freeze(
  /** @type {const} */ ([
    { key: "alert", name: "alert" },
    { key: "alertState", name: "state", among: ALERT_STATES },
    { key: "alertRule", name: "alert_rule" },
    { key: "alertWords", name: "find" },
    { key: "rule", name: "rule" },
    { key: "ruleState", name: "rules", among: RULE_STATES },
    { key: "ruleWords", name: "find_rule" },
    { key: "profile", name: "of" },
  ]),
);
const LISTED = Object.freeze(
  /** @type {const} */ ([
    { key: "severities", name: "severity" },
    { key: "silence", name: "silence" },
  ]),
);

/**
 * Read a view from a query string. What is unknown or malformed becomes the default: an old link never breaks.
 * @param {string} search
 * @returns {View}
 */
export function parse(search) {
  const query = new URLSearchParams(search);
  /** @type {Record<string, readonly string[]>} */
  const filters = {};
  for (const { name, many } of FILTERS) {
    const values = [...new Set(query.getAll(name).filter((value) => value !== "" && value !== "!"))];
    if (values.length > 0) filters[name] = many ? values : values.slice(0, 1);
  }
  const page = wholeNumber(query.get("page"), 1);
  const snapshot = query.has("snapshot") ? wholeNumber(query.get("snapshot"), 0) : null;
  const start = query.get("start_date");
  return Object.freeze({
    tab: TABS.find((tab) => tab === query.get("tab")) ?? "events",
    start: start === null ? DEFAULT_VIEW.start : start === "all" || isMoment(start) ? start : DEFAULT_VIEW.start,
    end: isMoment(query.get("end_date")) ? (query.get("end_date") ?? "") : "",
    filters: Object.freeze(filters),
    limit: oneOf(PAGE_SIZES, query.get("limit"), DEFAULT_LIMIT),
    page: Math.max(1, page),
    snapshot,
    refresh: query.has("refresh") ? oneOf(REFRESH_SECONDS, query.get("refresh"), null) : null,
    zone: query.get("zone") === "utc" ? "utc" : "local",
    event: query.get("event") || null,
    pane: PANES.includes(query.get("pane") ?? "") ? (query.get("pane") ?? "") : "overview",
    logDate: DAY.test(query.get("date") ?? "") ? (query.get("date") ?? "") : "",
    logLines: oneOf(LOG_LINES, query.get("lines"), DEFAULT_LINES),
    logSource: query.get("log") ?? "",
    tested: query.has("test") ? Number(oneOf(DAYS, query.get("test"), 0)) : 0,
    days: Number(oneOf(DAYS, query.get("days"), DEFAULT_DAYS)),
    ...plainOf(query),
  });
}

/**
 * @param {URLSearchParams} query
 * @returns {any}  a part of a `View`; what is malformed becomes the default
 */
function plainOf(query) {
  const found = PLAIN.map((item) => {
    const given = query.get(item.name) ?? "";
    const known = !("among" in item) || item.among.includes(given);
    return [item.key, known && given !== "" ? given : DEFAULT_VIEW[item.key]];
  });
  const lists = LISTED.map(({ key, name }) => [key, [...new Set(query.getAll(name).filter((value) => value !== ""))]]);
  return Object.fromEntries([...found, ...lists]);
}

/**
 * The query string of a view, "" for the default one; `parse(serialise(view))` is the view.
 * @param {View} view
 * @returns {string}
 */
export function serialise(view) {
  const query = new URLSearchParams();
  if (view.tab !== "events") query.set("tab", view.tab);
  if (view.start !== DEFAULT_VIEW.start) query.set("start_date", view.start);
  if (view.end !== "") query.set("end_date", view.end);
  appendFilters(query, view);
  if (view.limit !== DEFAULT_LIMIT) query.set("limit", String(view.limit));
  if (view.page !== 1) query.set("page", String(view.page));
  if (view.snapshot !== null) query.set("snapshot", String(view.snapshot));
  if (view.refresh !== null) query.set("refresh", String(view.refresh));
  if (view.zone !== "local") query.set("zone", view.zone);
  if (view.logDate !== "") query.set("date", view.logDate);
  if (view.logLines !== DEFAULT_LINES) query.set("lines", String(view.logLines));
  if (view.logSource !== "") query.set("log", view.logSource);
  for (const { key, name } of PLAIN) if (view[key] !== DEFAULT_VIEW[key]) query.set(name, String(view[key]));
  for (const { key, name } of LISTED) for (const value of view[key]) query.append(name, value);
  if (view.tested !== 0) query.set("test", String(view.tested));
  if (view.days !== DEFAULT_DAYS) query.set("days", String(view.days));
  if (view.event !== null) query.set("event", view.event);
  if (view.pane !== "overview") query.set("pane", view.pane);
  const text = query.toString();
  return text === "" ? "" : `?${text}`;
}

/**
 * The view after a change. A change of what is asked for goes back to the first page of the newest snapshot.
 * @param {View} view
 * @param {Partial<View>} change
 * @returns {View}
 */
export function changed(view, change) {
  const asksAnew = ["start", "end", "filters", "limit"].some((key) => key in change);
  const first = asksAnew && !("page" in change) ? { page: 1, snapshot: null } : {};
  return Object.freeze({ ...view, ...first, ...change });
}

/**
 * The filter as the API's parameters: the same for list, statistics and export.
 * @param {View} view
 * @returns {URLSearchParams}
 */
export function filterQuery(view) {
  const query = new URLSearchParams();
  if (view.start !== "" && view.start !== "all") query.set("start_date", view.start);
  if (view.end !== "") query.set("end_date", view.end);
  appendFilters(query, view);
  return query;
}

/**
 * The parameters of the list's page.
 * @param {View} view
 * @returns {URLSearchParams}
 */
export function listQuery(view) {
  const query = filterQuery(view);
  query.set("limit", String(view.limit));
  if (view.page > 1) {
    query.set("page", String(view.page));
    if (view.snapshot !== null) query.set("snapshot", String(view.snapshot));
  }
  return query;
}

/**
 * The parameters of the statistics; `zone` is the IANA name the buckets are aligned in. The whole archive is asked
 * for from its oldest event on, because statistics need a beginning.
 * @param {View} view
 * @param {string} zone
 * @param {string | null} oldest
 * @returns {URLSearchParams}
 */
export function statisticsQuery(view, zone, oldest) {
  const query = filterQuery(view);
  if (view.start === "all" && oldest !== null) query.set("start_date", oldest);
  query.set("tz", zone);
  return query;
}

/**
 * The parameters of an export: exactly the list's filter, and a format.
 * @param {View} view
 * @param {"json" | "csv" | "ndjson"} format
 * @returns {URLSearchParams}
 */
export function exportQuery(view, format) {
  const query = filterQuery(view);
  query.set("format", format);
  return query;
}

/**
 * The parameters of the log tab.
 * @param {View} view
 * @returns {URLSearchParams}
 */
export function logsQuery(view) {
  const query = new URLSearchParams();
  if (view.logDate !== "") query.set("date", view.logDate);
  query.set("lines", String(view.logLines));
  if (view.logSource !== "") query.set("source", view.logSource);
  return query;
}

/**
 * Whether anything but the time range narrows the view.
 * @param {View} view
 */
export function isFiltered(view) {
  return Object.keys(view.filters).length > 0;
}

/**
 * The instant a start or end means, in milliseconds, given the present; null when it cannot be read.
 * @param {string} moment
 * @param {number} now milliseconds since 1970
 * @returns {number | null}
 */
export function instant(moment, now) {
  if (moment === "" || moment === "now") return now;
  const relative = /^-(\d+)([smhdw])$/.exec(moment);
  if (relative) return now - Number(relative[1]) * ((UNIT_MS[relative[2] ?? ""] ?? 0));
  const parsed = Date.parse(moment);
  return Number.isNaN(parsed) ? null : parsed;
}

/** @type {Record<string, number>} */
const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/**
 * @param {URLSearchParams} query
 * @param {View} view
 */
function appendFilters(query, view) {
  for (const [name, values] of Object.entries(view.filters)) {
    if (filterNamed(name) === undefined) continue;
    for (const value of values) query.append(name, value);
  }
}

/** @param {string | null} text */
function isMoment(text) {
  if (text === null || text === "") return false;
  return text === "now" || RELATIVE.test(text) || (/^\d{4}-/.test(text) && !Number.isNaN(Date.parse(text)));
}

/**
 * @param {string | null} text
 * @param {number} fallback
 */
function wholeNumber(text, fallback) {
  const number = text !== null && /^\d{1,16}$/.test(text) ? Number(text) : fallback;
  return Number.isSafeInteger(number) ? number : fallback;
}

/**
 * @template T
 * @param {readonly number[]} choices
 * @param {string | null} text
 * @param {T} fallback
 * @returns {number | T}
 */
function oneOf(choices, text, fallback) {
  const found = choices.find((choice) => String(choice) === text);
  return found === undefined ? fallback : found;
}
