// @ts-check
/** The parts that statistics feed: histogram, distributions, top users, recent critical events. */

import { useState } from "preact/hooks";
import { BarList, FEW } from "../charts/bars.js";
import { Histogram } from "../charts/histogram.js";
import { justBefore } from "../charts/scale.js";
import { statistics } from "../data/queries.js";
import { refreshNow } from "../data/refresh.js";
import { bucketsOf } from "../data/series.js";
import { link, navigate, openEvent, view } from "../data/store.js";
import { only, toggled, valuesOf } from "../filters.js";
import { cell, count, instant, minute, span } from "../format.js";
import { html } from "../html.js";
import { LEVELS, headline, label } from "../vocabulary.js";
import { Icon } from "./icon.js";
import { Level, LevelMark } from "./level.js";
import { Panel } from "./panel.js";

const MOST_CATEGORIES = 12; // rows; the rest are rare, and the filter menu lists them all
const retry = () => void refreshNow();

export function Timeline() {
  const answer = statistics.body;
  const buckets = bucketsOf(answer);
  const { zone } = view.value;
  const first = buckets[0];
  const last = buckets[buckets.length - 1];
  /** @param {number} start @param {number} end */
  const onRange = (start, end) => navigate({ start: new Date(start).toISOString(), end: justBefore(end) });
  /** @param {number} by  in lengths of the present range */
  const shift = (by) => {
    if (first === undefined || last === undefined) return;
    const length = last.end - first.start;
    onRange(first.start + by * length, last.end + by * length);
  };
  const widen = () => {
    if (first === undefined || last === undefined) return;
    const half = (last.end - first.start) / 2;
    onRange(first.start - half, Math.min(last.end + half, Date.now()));
  };
  const note =
    first === undefined || last === undefined
      ? undefined
      : html`${minute(first.start, zone)} – ${minute(last.end, zone)} <span class="bar-width">· ${span(first.end - first.start)} a bar</span>`;
  const tools = html`<div class="tools">
    <button type="button" class="icon-button" title="Earlier" onClick=${() => shift(-1)}>
      <${Icon} name="left" /><span class="off-screen">Earlier</span>
    </button>
    <button type="button" class="icon-button" title="Later" onClick=${() => shift(1)}>
      <${Icon} name="right" /><span class="off-screen">Later</span>
    </button>
    <button type="button" class="icon-button" title="Twice the range" onClick=${widen}>
      <${Icon} name="out" /><span class="off-screen">Twice the range</span>
    </button>
  </div>`;
  return html`<${Panel} title="Events over time" name="timeline" resource=${statistics} note=${note} tools=${tools} retry=${retry}>
    <${Histogram} buckets=${buckets} zone=${zone} onRange=${onRange} />
    <div class="under-chart">
      <ul class="legend" aria-label="Colours of the levels">
        ${LEVELS.map((level) => html`<li key=${level}><${LevelMark} level=${level} /> ${label(level)}</li>`)}
      </ul>
      <p class="quiet drag-hint">Drag across the bars to choose a range</p>
    </div>
    <${TimelineTable} buckets=${buckets} zone=${zone} />
  <//>`;
}

/** @param {{ buckets: readonly import("../charts/scale.js").Bucket[], zone: "local" | "utc" }} props */
function TimelineTable({ buckets, zone }) {
  const filled = buckets.filter((bucket) => bucket.total > 0);
  return html`<details class="as-table">
    <summary>The same as a table</summary>
    <div class="scroll-x" tabindex="0" role="group" aria-label="Events over time as a table">
      <table>
        <thead>
          <tr><th scope="col">From</th>${LEVELS.map((level) => html`<th scope="col" class="number">${label(level)}</th>`)}<th scope="col" class="number">Total</th></tr>
        </thead>
        <tbody>
          ${filled.map(
            (bucket) => html`<tr key=${bucket.start}>
              <th scope="row">${minute(bucket.start, zone)}</th>
              ${LEVELS.map((level) => html`<td class="number">${count(bucket.byLevel[level] ?? 0)}</td>`)}
              <td class="number">${count(bucket.total)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}

/**
 * @param {string} name
 */
const narrowing = (name) => ({
  chosen: valuesOf(view.value, name),
  onOnly: (/** @type {string} */ value) => navigate({ filters: toggled(view.peek(), name, value) }),
  onNot: (/** @type {string} */ value) => navigate({ filters: only(view.peek(), name, value, true) }),
});

export function ByLevel() {
  const counts = statistics.body?.byLevel ?? {};
  const rows = [...LEVELS].reverse().map((level) => ({
    value: level,
    text: html`<${LevelMark} level=${level} /> ${label(level)}`,
    plain: label(level),
    count: counts[level] ?? 0,
    mark: `level-${level}`,
  }));
  return html`<${Panel} title="By level" name="levels" resource=${statistics} retry=${retry}>
    <${BarList} rows=${rows} what="level" ...${narrowing("level")} />
  <//>`;
}

export function ByCategory() {
  const counts = Object.entries(statistics.body?.byCategory ?? {});
  const rows = counts
    .map(([value, number]) => ({ value, text: label(value), plain: label(value), count: Number(number) }))
    .filter((row) => row.count > 0)
    .sort((a, b) => b.count - a.count || a.value.localeCompare(b.value))
    .slice(0, MOST_CATEGORIES);
  return html`<${Panel} title="By category" name="categories" resource=${statistics} retry=${retry}>
    <${BarList} rows=${rows} what="category" ...${narrowing("category")} />
  <//>`;
}

export function TopUsers() {
  /** @type {{ username: string, userId: string | null, eventCount: number }[]} */
  const users = statistics.body?.topUsers ?? [];
  const rows = users.map((user) => ({
    value: `${filterOfUser(user)} ${user.username}`,
    text: user.username,
    plain: user.username,
    count: user.eventCount,
  }));
  /** @param {string} value */
  const parted = (value) => /** @type {const} */ ([value.slice(0, value.indexOf(" ")), value.slice(value.indexOf(" ") + 1)]);
  const chosen = ["username", "user_id"].flatMap((name) => valuesOf(view.value, name).map((value) => `${name} ${value}`));
  return html`<${Panel} title="Top users" name="users" resource=${statistics} retry=${retry}>
    <${BarList}
      rows=${rows}
      what="user"
      chosen=${chosen}
      onOnly=${(/** @type {string} */ value) => navigate({ filters: toggled(view.peek(), ...parted(value)) })}
      onNot=${(/** @type {string} */ value) => navigate({ filters: only(view.peek(), ...parted(value), true) })}
    />
  <//>`;
}

/**
 * A user without a name is shown, and filtered, by the id.
 * @param {{ username: string, userId: string | null }} user
 */
const filterOfUser = (user) => (user.userId !== null && user.userId === user.username ? "user_id" : "username");

export function RecentCritical() {
  /** @type {any[]} */
  const events = statistics.body?.criticalEvents ?? [];
  const [all, setAll] = useState(false);
  const { zone } = view.value;
  return html`<${Panel} title="Recent critical events" name="critical" resource=${statistics} retry=${retry}>
    ${events.length === 0 && html`<p class="quiet">None in this range.</p>`}
    <ul class=${all ? "critical" : "critical is-cut"}>
      ${events.map((event) => {
        const when = cell(event.timestamp, zone);
        return html`<li key=${`${event.eventId} ${event.seq}`}>
          <a href=${link({ event: event.eventId, pane: "overview" })} onClick=${(/** @type {MouseEvent} */ click) => follow(click, event.eventId)}>
            <span class="critical-text">${headline(event)}</span>
            <span class="critical-line quiet">
              <time datetime=${event.timestamp} title=${instant(event.timestamp, zone)}>${when.day}, ${when.time.slice(0, 8)}</time>
              ${event.user?.username && html`<span>${event.user.username}</span>`}
              ${event.level !== "critical" && html`<${Level} level=${event.level} />`}
            </span>
          </a>
        </li>`;
      })}
    </ul>
    ${events.length > FEW && html`<button type="button" class="link-button more" onClick=${() => setAll(true)}>All ${events.length}</button>`}
  <//>`;
}

/**
 * A plain press opens the dialog in place; with a modifier the link works as links do.
 * @param {MouseEvent} click
 * @param {string} id
 */
export function follow(click, id) {
  if (click.metaKey || click.ctrlKey || click.shiftKey || click.altKey || click.button !== 0) return;
  click.preventDefault();
  openEvent(id);
}
