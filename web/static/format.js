// @ts-check
/** Numbers, sizes, spans and instants as people read them. Pure; the locale is fixed so that a link looks the same to all. */

const LOCALE = "en-US";
const WHOLE = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });
const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];
const KIB = 1024;
const COMPACT_FROM = 1_000_000; // below this every digit fits on a card
const YEAR_STEP = 31_536_000_000; // milliseconds between the marks of an axis that is written in years
const BRIEF_FROM = 10_000; // below this every digit fits beside an axis

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/**
 * A count with separators; `1.2M` from a million on when `compact`.
 * @param {number | null | undefined} value
 * @param {boolean} [compact]
 */
export function count(value, compact = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return compact && Math.abs(value) >= COMPACT_FROM ? COMPACT.format(value) : WHOLE.format(value);
}

/**
 * A count for the numbers of an axis, in at most five characters: `20K` from ten thousand on.
 * @param {number} value
 */
export function brief(value) {
  return Math.abs(value) >= BRIEF_FROM ? COMPACT.format(value) : WHOLE.format(value);
}

/**
 * A share of a whole as per cent; less than one in a thousand says so instead of 0 %.
 * @param {number} part
 * @param {number} whole
 */
export function share(part, whole) {
  if (whole <= 0) return "0 %";
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.1) return "< 0.1 %";
  return `${percent.toFixed(percent >= 10 || percent === 0 ? 0 : 1)} %`;
}

/**
 * A change against an earlier value, in words: null when there is nothing to compare with.
 * @param {number} value
 * @param {number | null | undefined} before
 * @returns {{ direction: "up" | "down" | "same", text: string } | null}
 */
export function change(value, before) {
  if (before === null || before === undefined) return null;
  if (value === before) return { direction: "same", text: "unchanged" };
  const direction = value > before ? "up" : "down";
  if (before === 0) return { direction, text: "" }; // no share of nothing
  const percent = Math.abs((100 * (value - before)) / before);
  const text = percent >= 1000 ? `× ${count(value / before)}` : `${percent.toFixed(percent >= 10 ? 0 : 1)} %`;
  return { direction, text };
}

/**
 * @param {number | null | undefined} value
 */
export function bytes(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  let unit = 0;
  let size = value;
  while (Math.abs(size) >= KIB && unit < SIZES.length - 1) {
    size /= KIB;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${SIZES[unit]}`;
}

/**
 * A span of time in its one or two greatest units.
 * @param {number} milliseconds
 */
export function span(milliseconds) {
  const seconds = Math.round(Math.abs(milliseconds) / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return hours % 24 === 0 || days > 6 ? `${days} d` : `${days} d ${hours % 24} h`;
}

/**
 * A time a request took; the API gives milliseconds.
 * @param {number | null | undefined} milliseconds
 */
export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 1000) return `${Number(milliseconds.toFixed(milliseconds < 10 ? 1 : 0))} ms`;
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

/**
 * The IANA name of the zone times are shown in.
 * @param {"local" | "utc"} zone
 */
export function zoneName(zone) {
  return zone === "utc" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

/**
 * A whole date and time with milliseconds: `2026-11-23 14:05:06.123`.
 * @param {string | number | null | undefined} moment
 * @param {"local" | "utc"} zone
 */
export function instant(moment, zone) {
  const parts = partsOf(moment, zone);
  return parts === null ? "–" : `${parts.date} ${parts.time}.${parts.milliseconds}`;
}

/**
 * Day and time for a table's cell: `23 Nov` and `14:05:06.123`.
 * @param {string | number | null | undefined} moment
 * @param {"local" | "utc"} zone
 */
export function cell(moment, zone) {
  const parts = partsOf(moment, zone);
  return parts === null ? { day: "", time: "–" } : { day: parts.day, time: `${parts.time}.${parts.milliseconds}` };
}

/**
 * Date and minutes, for ranges and captions: `2026-11-23 14:05`.
 * @param {string | number | null | undefined} moment
 * @param {"local" | "utc"} zone
 */
export function minute(moment, zone) {
  const parts = partsOf(moment, zone);
  return parts === null ? "–" : `${parts.date} ${parts.time.slice(0, 5)}`;
}

/**
 * What a date-and-time input takes: `2026-11-23T14:05`, in the zone shown.
 * @param {number} moment
 * @param {"local" | "utc"} zone
 */
export function inputValue(moment, zone) {
  return minute(moment, zone).replace(" ", "T");
}

/**
 * The instant a date-and-time input means, as the API takes it; "" when it is empty or cannot be read.
 * @param {string} text
 * @param {"local" | "utc"} zone
 */
export function fromInput(text, zone) {
  const parsed = Date.parse(zone === "utc" ? `${text}Z` : text);
  return text === "" || Number.isNaN(parsed) ? "" : new Date(parsed).toISOString();
}

/**
 * A tick of a time axis: the day at midnight, the hour otherwise.
 * @param {number} moment
 * @param {"local" | "utc"} zone
 * @param {number} step milliseconds between ticks
 */
export function tick(moment, zone, step) {
  const parts = partsOf(moment, zone);
  if (parts === null) return "";
  if (step >= YEAR_STEP) return parts.date.slice(0, 4);
  if (step >= 86_400_000 || parts.time.startsWith("00:00:00")) return parts.day;
  return step < 60_000 ? parts.time : parts.time.slice(0, 5);
}

/**
 * @param {string | number | null | undefined} moment
 * @param {"local" | "utc"} zone
 */
function partsOf(moment, zone) {
  if (moment === null || moment === undefined) return null;
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return null;
  const parts = Object.fromEntries(formatFor(zone).formatToParts(date).map(({ type, value }) => [type, value]));
  const month = MONTHS[Number(parts.month) - 1];
  return {
    date: `${parts.year}-${parts.month}-${parts.day}`,
    day: `${Number(parts.day)} ${month}`,
    time: `${parts.hour}:${parts.minute}:${parts.second}`,
    milliseconds: parts.fractionalSecond ?? "000",
  };
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** @param {"local" | "utc"} zone */
function formatFor(zone) {
  const known = formats.get(zone);
  if (known !== undefined) return known;
  const made = new Intl.DateTimeFormat(LOCALE, {
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    fractionalSecondDigits: 3,
    hourCycle: "h23",
    ...(zone === "utc" ? { timeZone: "UTC" } : {}),
  });
  formats.set(zone, made);
  return made;
}

/**
 * Today as the daily log files count it, in UTC.
 * @param {number} now milliseconds since 1970
 */
export function utcDay(now) {
  return new Date(now).toISOString().slice(0, 10);
}
