// @ts-check
/** The words of an event: levels in rising order, risk bands, and how words become labels. */

/** The five levels, least first; stacked bars are drawn in this order from the ground up. */
export const LEVELS = Object.freeze(["debug", "info", "warning", "error", "critical"]);

/** A risk score from 0 to 100 falls in one of three bands; `high` is the greatest score of the band. */
export const BANDS = Object.freeze([
  Object.freeze({ name: "low", low: 0, high: 30 }),
  Object.freeze({ name: "medium", low: 31, high: 70 }),
  Object.freeze({ name: "high", low: 71, high: 100 }),
]);

const HEADLINE = 300; // characters of a description in a list; its event's dialog has all of them

/** Words that a plain capital letter would spell wrong. */
const SPELLED = new Map([["api", "API"], ["id", "ID"], ["ip", "IP"], ["url", "URL"], ["mfa", "MFA"], ["2fa", "2FA"]]);

/**
 * The name of the band a score falls in, or null when there is no score.
 * @param {number | null | undefined} score
 * @returns {string | null}
 */
export function bandOf(score) {
  if (score === null || score === undefined || Number.isNaN(score)) return null;
  for (const band of BANDS) if (score <= band.high) return band.name;
  return "high";
}

/**
 * Whether a word is one of the five levels; anything else is shown, but without a colour of its own.
 * @param {unknown} level
 */
export function isLevel(level) {
  return typeof level === "string" && LEVELS.includes(level);
}

/**
 * A machine's word as people write it: `user_management` becomes `User management`.
 * @param {unknown} word
 */
export function label(word) {
  const text = String(word ?? "").replaceAll("_", " ").trim();
  if (text === "") return "none";
  const words = text.split(/\s+/).map((part) => SPELLED.get(part.toLowerCase()) ?? part);
  const first = words[0] ?? "";
  words[0] = first.charAt(0).toUpperCase() + first.slice(1);
  return words.join(" ");
}

/**
 * An event in one line of a list: what it says of itself, else what was done, else that it says neither.
 * @param {{ description?: string | null, action?: string | null }} event
 */
export function headline({ description, action }) {
  if (!description) return action ? label(action) : "no description";
  return description.length <= HEADLINE ? description : `${description.slice(0, HEADLINE)}…`;
}
