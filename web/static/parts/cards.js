// @ts-check
/** The four figures: events, users, critical events, error rate, each beside the period before. */

import { statistics } from "../data/queries.js";
import { refreshNow } from "../data/refresh.js";
import { change, count } from "../format.js";
import { html } from "../html.js";
import { Failure } from "./panel.js";

/** @param {number | null | undefined} rate */
const percent = (rate) => (rate === null || rate === undefined ? "–" : `${rate.toFixed(1)} %`);

/** What each card shows: its name, its value now and before, and how it is written. */
const CARDS = [
  { title: "Total Events", name: "total", of: (/** @type {any} */ s) => s?.totals?.events, write: (/** @type {number} */ v) => count(v, true) },
  { title: "Active Users", name: "users", of: (/** @type {any} */ s) => s?.totals?.users, write: (/** @type {number} */ v) => count(v, true) },
  { title: "Critical Events", name: "critical", of: (/** @type {any} */ s) => s?.byLevel?.critical, write: (/** @type {number} */ v) => count(v, true) },
  { title: "Error Rate", name: "rate", of: (/** @type {any} */ s) => s?.errorRate, write: percent },
];

export function Cards() {
  const now = statistics.body;
  const problem = statistics.problem.value;
  const nothing = now?.previous?.totals?.events === 0;
  return html`<section class="cards-part" aria-label="Key figures" aria-busy=${statistics.loading.value ? "true" : "false"}>
    ${problem !== null && html`<${Failure} problem=${problem} stale=${now !== null} retry=${() => void refreshNow()} />`}
    <ul class=${statistics.loading.value ? "cards is-old" : "cards"}>
      ${CARDS.map((card) => {
        const value = card.of(now);
        const before = card.of(now?.previous);
        return html`<li class="card card-${card.name}" key=${card.name}>
          <h2>${card.title}</h2>
          <p class="figure">${value === undefined ? "–" : card.write(value)}</p>
          <${Compared} value=${value} before=${before} rate=${card.name === "rate"} nothing=${nothing} write=${card.write} />
        </li>`;
      })}
    </ul>
  </section>`;
}

/**
 * How a figure stands beside the period before, where there is one.
 * @param {{ value: number | undefined, before: number | undefined, rate: boolean, nothing: boolean, write: (value: number) => string }} props
 */
function Compared({ value, before, rate, nothing, write }) {
  if (value === undefined || before === undefined) return html`<p class="compared quiet"></p>`;
  if (nothing) return html`<p class="compared quiet">nothing before</p>`;
  const difference = rate ? points(value - before) : change(value, before);
  if (difference === null || difference.direction === "same") return html`<p class="compared quiet">unchanged</p>`;
  const mark = difference.direction === "up" ? "▲" : "▼";
  return html`<p class="compared quiet">${mark} ${difference.text} from ${write(before)}</p>`;
}

/**
 * A change of a share, in percentage points.
 * @param {number} difference
 */
function points(difference) {
  const size = Math.abs(difference).toFixed(1);
  if (size === "0.0") return null;
  return { direction: difference > 0 ? "up" : "down", text: `${size} pts` };
}
