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
  return html`<section class="cards-part" aria-label="Key figures" aria-busy=${statistics.loading.value ? "true" : "false"}>
    ${problem !== null && html`<${Failure} problem=${problem} stale=${now !== null} retry=${() => void refreshNow()} />`}
    <ul class=${statistics.loading.value ? "cards is-old" : "cards"}>
      ${CARDS.map((card) => {
        const value = card.of(now);
        const before = card.of(now?.previous);
        return html`<li class="card card-${card.name}" key=${card.name}>
          <h2>${card.title}</h2>
          <p class="figure">${value === undefined ? "–" : card.write(value)}</p>
          <${Compared} value=${value} before=${before} rate=${card.name === "rate"} write=${card.write} />
        </li>`;
      })}
    </ul>
  </section>`;
}

/** @param {{ value: number | undefined, before: number | undefined, rate: boolean, write: (value: number) => string }} props */
function Compared({ value, before, rate, write }) {
  if (value === undefined) return html`<p class="compared quiet"> </p>`;
  if (rate && before !== undefined && before !== null) {
    const points = value - before;
    const mark = points > 0.04 ? "▲" : points < -0.04 ? "▼" : "";
    return html`<p class="compared quiet">${mark} ${mark === "" ? "unchanged" : `${Math.abs(points).toFixed(1)} pts`} ${mark !== "" && html`<span>from ${write(before)}</span>`}</p>`;
  }
  const difference = change(value, before);
  if (difference === null || before === undefined) return html`<p class="compared quiet"> </p>`;
  const mark = { up: "▲", down: "▼", same: "" }[difference.direction];
  return html`<p class="compared quiet">${mark} ${difference.text} ${mark !== "" && html`<span>from ${write(before)}</span>`}</p>`;
}
