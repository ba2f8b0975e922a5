// @ts-check
/** From values to places: scales and ticks for the charts. Pure. */

/** Steps of a time axis that people count in, milliseconds. */
const TIME_STEPS = [
  1000, 5000, 15_000, 30_000, 60_000, 300_000, 900_000, 1_800_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000,
  86_400_000, 172_800_000, 604_800_000, 1_209_600_000, 2_592_000_000, 7_776_000_000,
];

/** From this step on an axis is written in years, which have no one length. */
const YEAR = 31_536_000_000;

/**
 * @typedef {object} Bucket
 * @property {number} start  milliseconds since 1970
 * @property {number} end    exclusive
 * @property {number} total
 * @property {Readonly<Record<string, number>>} byLevel
 */

/**
 * A round value at or above the greatest one: the top of an axis that divides evenly.
 * @param {number} greatest
 */
export function niceTop(greatest) {
  if (greatest <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(greatest));
  for (const factor of [1, 2, 4, 5, 6, 8]) {
    const top = factor * power;
    if (top >= greatest && top % 2 === 0) return top; // its half is written too
  }
  return 10 * power;
}

/**
 * Where to write times on an axis: the places and the step between them, about `most`. They fall on round hours of
 * the zone on both sides of a change of its clocks, or on beginnings of years.
 * @param {number} from
 * @param {number} to
 * @param {number} most
 * @param {(moment: number) => number} offsetAt  milliseconds the shown zone is ahead of UTC at an instant
 * @returns {{ step: number, ticks: number[] }}
 */
export function timeTicks(from, to, most, offsetAt) {
  const step = TIME_STEPS.find((candidate) => (to - from) / candidate <= most);
  if (step === undefined) return yearTicks(from, to, most, offsetAt);
  const ticks = [];
  const ahead = offsetAt(from);
  let at = Math.ceil((from + ahead) / step) * step - ahead;
  while (at <= to) {
    ticks.push(at);
    const next = at + step;
    const past = (((next + offsetAt(next)) % step) + step) % step; // not 0 when the clocks changed between the two
    at = past <= step / 2 ? next - past : next + step - past;
  }
  return { step, ticks };
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} most
 * @param {(moment: number) => number} offsetAt
 */
function yearTicks(from, to, most, offsetAt) {
  const years = Math.ceil((to - from) / YEAR / most);
  const ticks = [];
  for (let year = Math.ceil(new Date(from).getUTCFullYear() / years) * years; ; year += years) {
    const midnight = Date.UTC(year, 0, 1);
    const at = midnight - offsetAt(midnight);
    if (!(at <= to)) return { step: years * YEAR, ticks }; // also where there is no time at all
    if (at >= from) ticks.push(at);
  }
}

/**
 * How many milliseconds a zone is ahead of UTC at an instant.
 * @param {number} moment
 * @param {"local" | "utc"} zone
 */
export function zoneOffset(moment, zone) {
  return zone === "utc" ? 0 : -new Date(moment).getTimezoneOffset() * 60_000;
}

/**
 * Heights of stacked parts in pixels, ground first. What is there is seen: at least one pixel for each count
 * above zero, taken from the tallest part.
 * @param {readonly number[]} counts
 * @param {number} top     the value at full height
 * @param {number} height  pixels
 * @returns {number[]}
 */
export function stackHeights(counts, top, height) {
  const exact = counts.map((count) => (top === 0 ? 0 : (count / top) * height));
  const seen = exact.map((pixels, index) => ((counts[index] ?? 0) > 0 ? Math.max(1, pixels) : 0));
  const surplus = seen.reduce((sum, pixels) => sum + pixels, 0) - height;
  if (surplus <= 0) return seen;
  const tallest = seen.indexOf(Math.max(...seen));
  return seen.map((pixels, index) => (index === tallest ? Math.max(1, pixels - surplus) : pixels));
}

/**
 * The whole buckets that a stretch of the axis touches, as times; null when there are none.
 * @param {readonly Bucket[]} buckets
 * @param {number} from  milliseconds, either end first
 * @param {number} to
 * @returns {{ start: number, end: number } | null}
 */
export function snap(buckets, from, to) {
  const [left, right] = from <= to ? [from, to] : [to, from];
  const touched = buckets.filter((bucket) => bucket.end > left && bucket.start <= right);
  const first = touched[0];
  const last = touched[touched.length - 1];
  return first === undefined || last === undefined ? null : { start: first.start, end: last.end };
}

/**
 * The last microsecond before an instant, as the API writes it: its ends are inclusive, ours are not.
 * @param {number} end milliseconds since 1970
 */
export function justBefore(end) {
  return new Date(end - 1).toISOString().replace("Z", "999Z");
}
