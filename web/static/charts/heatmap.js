// @ts-check
/** Events of each hour of the week as squares: the fuller, the more. The same stands below as a table. */

import { count } from "../format.js";
import { html } from "../html.js";

const CELL = 24;
const LEFT = 40;
const TOP = 18;
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const LABELLED = 3; // every so many hours
const FAINTEST = 0.16; // of what has anything at all, so that it is told from nothing

/** @param {{ heatmap: { weekdays: readonly string[], events: readonly (readonly number[])[] } }} props */
export function Heatmap({ heatmap }) {
  const { weekdays, events } = heatmap;
  const most = Math.max(1, ...events.flat());
  const width = LEFT + CELL * HOURS.length;
  const height = TOP + CELL * weekdays.length;
  return html`<div class="heatmap">
    <svg viewBox="0 0 ${width} ${height}" role="img" aria-label=${summary(heatmap)}>
      ${HOURS.filter((hour) => hour % LABELLED === 0).map((hour) => html`<text key=${hour} class="heat-label" x=${LEFT + hour * CELL} y="12" aria-hidden="true">${String(hour).padStart(2, "0")}</text>`)}
      ${weekdays.map(
        (day, row) => html`<g key=${day}>
          <text class="heat-label" x="0" y=${TOP + row * CELL + 16} aria-hidden="true">${day.slice(0, 3)}</text>
          ${HOURS.map((hour) => {
            const number = events[row]?.[hour] ?? 0;
            const strength = number === 0 ? 0 : FAINTEST + (1 - FAINTEST) * (number / most);
            return html`<rect key=${hour} class=${number === 0 ? "heat is-none" : "heat"} x=${LEFT + hour * CELL} y=${TOP + row * CELL} width=${CELL - 2} height=${CELL - 2} rx="3" fill-opacity=${number === 0 ? undefined : strength.toFixed(2)}>
              <title>${day} ${String(hour).padStart(2, "0")}:00: ${count(number)}</title>
            </rect>`;
          })}
        </g>`,
      )}
    </svg>
    <details class="as-table">
      <summary>The same as a table</summary>
      <div class="scroll-x" tabindex="0" role="group" aria-label="Events by weekday and hour as a table">
        <table>
          <thead><tr><th scope="col">Day</th>${HOURS.map((hour) => html`<th scope="col" class="number" key=${hour}>${hour}</th>`)}</tr></thead>
          <tbody>
            ${weekdays.map((day, row) => html`<tr key=${day}><th scope="row">${day}</th>${HOURS.map((hour) => html`<td class="number" key=${hour}>${count(events[row]?.[hour] ?? 0)}</td>`)}</tr>`)}
          </tbody>
        </table>
      </div>
    </details>
  </div>`;
}

/**
 * The map in one sentence.
 * @param {{ weekdays: readonly string[], events: readonly (readonly number[])[] }} heatmap
 */
function summary({ weekdays, events }) {
  let best = { day: "", hour: 0, number: 0 };
  let total = 0;
  weekdays.forEach((day, row) =>
    HOURS.forEach((hour) => {
      const number = events[row]?.[hour] ?? 0;
      total += number;
      if (number > best.number) best = { day, hour, number };
    }),
  );
  if (total === 0) return "Usual hours: no events in this range.";
  return `Usual hours: ${count(total)} events, most on ${best.day} at ${String(best.hour).padStart(2, "0")}:00 with ${count(best.number)}.`;
}
