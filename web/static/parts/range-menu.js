// @ts-check
/** The time range: a few usual ones, or any two instants. */

import { useState } from "preact/hooks";
import { navigate, view } from "../data/store.js";
import { fromInput, inputValue, minute } from "../format.js";
import { html } from "../html.js";
import { instant } from "../state.js";
import { Menu } from "./menu.js";

const RANGES = [
  { start: "-15m", text: "Last 15 minutes" },
  { start: "-1h", text: "Last hour" },
  { start: "-6h", text: "Last 6 hours" },
  { start: "-24h", text: "Last 24 hours" },
  { start: "-7d", text: "Last 7 days" },
  { start: "-30d", text: "Last 30 days" },
  { start: "-90d", text: "Last 90 days" },
  { start: "all", text: "Everything" },
];
const LAST_MS = "59.999"; // an end is inclusive: the minute chosen belongs to the range

/** What the present range is called. @param {import("../state.js").View} shown */
export function rangeText(shown) {
  const usual = RANGES.find((range) => range.start === shown.start && shown.end === "");
  if (usual !== undefined) return usual.text;
  const from = shown.start === "all" ? "the beginning" : shown.start.startsWith("-") ? shown.start : minute(shown.start, shown.zone);
  return `${from} – ${shown.end === "" ? "now" : minute(shown.end, shown.zone)}`;
}

export function RangeMenu() {
  const shown = view.value;
  return html`<${Menu} name="range" align="end" label=${html`<span class="off-screen">Time range: </span>${rangeText(shown)}`}>
    ${(/** @type {() => void} */ close) => html`
      <ul class="range-list">
        ${RANGES.map(({ start, text }) => {
          const on = start === shown.start && shown.end === "";
          const choose = () => {
            navigate({ start, end: "" });
            close();
          };
          return html`<li key=${start}>
            <button type="button" class="menu-item" aria-pressed=${on ? "true" : "false"} onClick=${choose}>${text}</button>
          </li>`;
        })}
      </ul>
      <${OwnRange} close=${close} />
    `}
  <//>`;
}

/** @param {{ close: () => void }} props */
function OwnRange({ close }) {
  const shown = view.value;
  const now = Date.now();
  const begin = shown.start === "all" ? null : instant(shown.start, now);
  const end = instant(shown.end, now);
  const [from, setFrom] = useState(begin === null ? "" : inputValue(begin, shown.zone));
  const [to, setTo] = useState(end === null ? "" : inputValue(end, shown.zone));
  const wrong = from !== "" && to !== "" && from > to;
  /** @param {Event} event */
  const onSubmit = (event) => {
    event.preventDefault();
    if (wrong) return;
    const last = fromInput(to, shown.zone).replace("00.000", LAST_MS);
    navigate({ start: fromInput(from, shown.zone) || "all", end: last });
    close();
  };
  return html`<form class="own-range" onSubmit=${onSubmit}>
    <label>From<input type="datetime-local" value=${from} onInput=${(/** @type {any} */ e) => setFrom(e.currentTarget.value)} /></label>
    <label>To<input type="datetime-local" value=${to} onInput=${(/** @type {any} */ e) => setTo(e.currentTarget.value)} /></label>
    <p class="quiet" role="status">${wrong ? "The beginning is after the end." : `Times are ${shown.zone === "utc" ? "UTC" : "local"}.`}</p>
    <button type="submit" class="button is-main" disabled=${wrong}>Show this range</button>
  </form>`;
}
