// @ts-check
/** What in the daemon's status a person should look at. Pure. */

import { bytes, count } from "../format.js";

const LAG_BYTES = 64 * 1024 * 1024; // about 80,000 events behind
const DISK_FREE_BYTES = 1024 * 1024 * 1024;
const FAILED = new Set(["failed", "copy"]); // a copy repeats another file, so its lines are not taken twice

/**
 * Sentences for people, most urgent first; empty when all is well.
 * @param {any} status
 * @returns {string[]}
 */
export function warningsOf(status) {
  const warnings = [];
  if (status.ready === false) warnings.push(`The daemon is not ready: ${status.reason || "it does not say why"}.`);
  for (const text of status.problems ?? []) warnings.push(sentence(String(text)));
  if (status.watcher && status.watcher !== "ok") warnings.push(sentence(`file notices do not work, so new lines may be seen late: ${status.watcher}`));
  const sources = (status.sources ?? []).filter((/** @type {any} */ s) => FAILED.has(s.state));
  for (const source of sources) warnings.push(sentence(`${source.path} is not being read: ${source.note || source.state}`));
  const lag = lagOf(status);
  if (lag > LAG_BYTES) warnings.push(`${bytes(lag)} of the log files are not read yet; what is newest is not shown.`);
  const free = status.disk_free_bytes;
  if (free !== null && free !== undefined && free < DISK_FREE_BYTES) warnings.push(`Only ${bytes(free)} are free on the archive's disk.`);
  const gaps = status.gaps ?? 0;
  if (gaps > 0) warnings.push(gapsText(gaps, status));
  for (const said of status.degraded ?? []) if (said.code === "pinned" || said.code === "descriptors") warnings.push(sentence(said.detail));
  return warnings;
}

/**
 * Bytes of all sources that no query can see yet.
 * @param {any} status
 * @returns {number}
 */
export function lagOf(status) {
  if (typeof status.lag_bytes === "number") return status.lag_bytes;
  return (status.sources ?? []).reduce((/** @type {number} */ sum, /** @type {any} */ source) => sum + source.lag_bytes, 0);
}

/**
 * @param {number} gaps
 * @param {any} status
 */
function gapsText(gaps, status) {
  const amount = status.gap_bytes ? `, ${bytes(status.gap_bytes)}` : "";
  const last = status.last_gap;
  const newest = last ? `; the last one in ${last.path || "a file without a name"} (${last.reason})` : "";
  return `${count(gaps)} ${gaps === 1 ? "gap" : "gaps"}${amount}: bytes that will never be archived${newest}.`;
}

/** @param {string} text */
function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
