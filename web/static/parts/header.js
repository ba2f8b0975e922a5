// @ts-check
/** The page's head: its name, the two tabs, the clock's zone, refreshing, and how the daemon is doing. */

import { useEffect, useState } from "preact/hooks";
import { list, status } from "../data/queries.js";
import { failures, hidden, interval, refreshNow } from "../data/refresh.js";
import { follow, link, navigate, view } from "../data/store.js";
import { count, span } from "../format.js";
import { html } from "../html.js";
import { REFRESH_SECONDS } from "../state.js";
import { Caller } from "./caller.js";
import { Icon } from "./icon.js";
import { StatusStrip } from "./status-strip.js";

const TABS = /** @type {const} */ ([
  { tab: "events", text: "Events" },
  { tab: "alerts", text: "Alerts" },
  { tab: "rules", text: "Rules" },
  { tab: "channels", text: "Channels" },
  { tab: "logs", text: "Logs" },
]);

/** A page begins with its list: what was open on it is closed. */
const CLOSED = { event: null, alert: null, rule: null, profile: null };

/** @param {{ onHelp: () => void }} props */
export function Header({ onHelp }) {
  const shown = view.value;
  return html`<header class="top">
    <div class="top-row">
      <h1 class="brand"><${Eye} /> Watchkeep</h1>
      <nav class="top-tabs" aria-label="Pages">
        ${TABS.map(({ tab, text }) => {
          const change = { ...CLOSED, tab };
          const onClick = (/** @type {MouseEvent} */ click) => follow(click, change);
          return html`<a key=${tab} href=${link(change)} aria-current=${tab === shown.tab ? "page" : undefined} onClick=${onClick}>
            ${text}${tab === "alerts" && html`<${NewAlerts} />`}
          </a>`;
        })}
      </nav>
      <div class="top-tools">
        <${Zone} />
        <${Refresh} />
        <button type="button" class="icon-button help-button" title="Keys (?)" onClick=${onHelp}>
          <span aria-hidden="true">?</span><span class="off-screen">Keys</span>
        </button>
        <${Caller} />
      </div>
    </div>
    <${StatusStrip} />
  </header>`;
}

/** How many alerts nobody looks after yet. */
function NewAlerts() {
  const waiting = status.body?.detection?.new_alerts ?? 0;
  if (waiting === 0) return null;
  return html` <span class="badge is-urgent">${count(waiting, true)}<span class="off-screen"> that nobody looks after</span></span>`;
}

function Eye() {
  return html`<svg class="eye" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
    <path d="M2 12c2.600-4.700 6-7 10-7s7.400 2.300 10 7c-2.600 4.700-6 7-10 7s-7.400-2.300-10-7Z" />
    <circle cx="12" cy="12" r="3.2" />
  </svg>`;
}

function Zone() {
  const { zone } = view.value;
  const next = zone === "utc" ? "local" : "utc";
  return html`<button
    type="button"
    class="button zone"
    title=${`Times are ${zone === "utc" ? "UTC" : "local"}; press for ${next === "utc" ? "UTC" : "local"}`}
    onClick=${() => navigate({ zone: next }, { replace: true })}
  >
    <span class="off-screen">Times: </span>${zone === "utc" ? "UTC" : "Local"}
  </button>`;
}

function Refresh() {
  const seconds = interval.value;
  return html`<div class="refresh">
    <${Freshness} />
    <label>
      <span class="off-screen">Refresh every</span>
      <select value=${String(seconds)} onChange=${(/** @type {any} */ event) => navigate({ refresh: Number(event.currentTarget.value) }, { replace: true })}>
        ${REFRESH_SECONDS.map((choice) => html`<option key=${choice} value=${String(choice)} selected=${choice === seconds}>${choice === 0 ? "Off" : `${choice} s`}</option>`)}
      </select>
    </label>
    <button type="button" class="icon-button" title="Refresh now (r)" onClick=${() => void refreshNow({ byHand: true })}>
      <${Icon} name="refresh" /><span class="off-screen">Refresh now</span>
    </button>
  </div>`;
}

/** How old what is shown is; told once a second, to eyes only. */
function Freshness() {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const shown = view.value.tab === "events" ? list : status;
  const at = shown.confirmed.value;
  if (failures.value > 0 || status.problem.value !== null) return html`<span class="freshness is-bad">no answer</span>`;
  if (hidden.value) return html`<span class="freshness">paused</span>`;
  if (at === 0) return html`<span class="freshness"></span>`;
  const age = Math.max(0, now - at);
  return html`<span class="freshness number" aria-hidden="true">${age < 2000 ? "just now" : `${span(age)} ago`}</span>`;
}
