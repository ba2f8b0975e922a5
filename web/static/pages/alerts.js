// @ts-check
/** What rules found: the list of alerts, and one of them in full. The address says which, so that a link leads there. */

import { computed, effect } from "@preact/signals";
import { address } from "../data/api.js";
import { status } from "../data/queries.js";
import { hidden, refreshNow } from "../data/refresh.js";
import { Resource } from "../data/resource.js";
import { follow, link, navigate, tab, view } from "../data/store.js";
import { cell, count, instant } from "../format.js";
import { html } from "../html.js";
import { AlertDetail } from "../parts/alert-detail.js";
import { Choose } from "../parts/choose.js";
import { AlertState, Group, SEVERITIES, Severity, SeverityMark } from "../parts/marks.js";
import { Choices, Menu } from "../parts/menu.js";
import { Panel } from "../parts/panel.js";
import { userProfile } from "../parts/profile-link.js";
import { SearchField } from "../parts/search-field.js";
import { label } from "../vocabulary.js";
import { Icon } from "../parts/icon.js";

const MOST = 200; // rows: whoever has more alerts narrows the list
const RISK_DAYS = 30; // how far back risk is summed
const RISKIEST = 8; // users and addresses shown
const SETTLE_MS = 250; // several changes in a row are one question

const alerts = new Resource();
const alert = new Resource();
const riskiest = new Resource();
const riskiestUrl = address("risk", new URLSearchParams({ hours: String(24 * RISK_DAYS), top: String(RISKIEST) }));

/** @type {Record<string, readonly string[]>} */
const ASKED = { "": ["open", "acknowledged"], open: ["open"], acknowledged: ["acknowledged"], resolved: ["resolved"], all: [] };

const listUrl = computed(() => {
  const { alertState, severities, alertRule, alertWords } = view.value;
  const query = new URLSearchParams();
  for (const state of ASKED[alertState] ?? []) query.append("state", state);
  for (const level of severities) if (SEVERITIES.some(({ name }) => name === level)) query.append("level", level);
  if (alertRule !== "") query.set("rule", alertRule);
  if (alertWords !== "") query.set("search_query", alertWords);
  query.set("limit", String(MOST));
  return address("alerts", query);
});
const alertId = computed(() => view.value.alert);
const alertUrl = computed(() => (alertId.value === null ? "" : address(`alerts/${encodeURIComponent(alertId.value)}`)));

/** Ask for the list, and for the alert that is open. */
export async function load() {
  const asked = [alerts.load(listUrl.value)];
  asked.push(alertUrl.value === "" ? riskiest.load(riskiestUrl) : alert.load(alertUrl.value));
  return (await Promise.all(asked)).every(Boolean);
}

effect(() => {
  if (tab.value === "alerts") void alerts.load(listUrl.value);
});
effect(() => {
  if (tab.value !== "alerts" || alertUrl.value === "") alert.clear();
  else void alert.load(alertUrl.value);
});
effect(() => {
  if (tab.value === "alerts" && alertUrl.value === "") void riskiest.load(riskiestUrl);
});

/* While the page is seen, each event that tells of an alert makes it ask again: nobody waits for the next round. */
effect(() => {
  if (tab.value !== "alerts" || hidden.value) return undefined;
  const live = new EventSource(address("events/live", new URLSearchParams({ internal: "only", entity_type: "alert" })));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  live.onmessage = () => {
    clearTimeout(timer);
    timer = setTimeout(() => void Promise.all([load(), status.load(address("status"))]), SETTLE_MS);
  };
  return () => {
    clearTimeout(timer);
    live.close();
  };
});

const retry = () => void refreshNow({ byHand: true });

export function Page() {
  const open = alertId.value !== null;
  return html`<div class=${open ? "pair is-open" : "pair has-rail"}>
    <div class="pair-list">
      <${Filters} />
      <${List} />
    </div>
    ${open ? html`<${AlertDetail} key=${alertId.value} resource=${alert} changed=${load} />` : html`<${Riskiest} />`}
  </div>`;
}

function Filters() {
  const shown = view.value;
  const states = alerts.body?.states;
  const options = [
    { value: "", text: "Not over", count: states && count(states.open + states.acknowledged) },
    { value: "open", text: "Open", count: states && count(states.open) },
    { value: "acknowledged", text: "Looked after", count: states && count(states.acknowledged) },
    { value: "resolved", text: "Resolved", count: states && count(states.resolved) },
    { value: "all", text: "All" },
  ];
  const levels = [...SEVERITIES].reverse().map(({ name }) => ({
    value: name,
    text: html`<${SeverityMark} level=${name} /> ${label(name)}`,
  }));
  /** @param {string} value */
  const toggle = (value) => {
    const { severities } = view.peek();
    navigate({ severities: severities.includes(value) ? severities.filter((other) => other !== value) : [...severities, value] });
  };
  return html`<div class="filters">
    <${Choose} legend="State" options=${options} chosen=${shown.alertState} onChoose=${(/** @type {string} */ alertState) => navigate({ alertState })} />
    <${Menu}
      name="severity"
      active=${shown.severities.length > 0}
      label=${shown.severities.length === 0 ? "Severity" : html`Severity <span class="badge">${shown.severities.length}</span>`}
    >
      ${() => html`<${Choices} options=${levels} chosen=${shown.severities} legend="Severity" onToggle=${toggle} />`}
    <//>
    <${SearchField} label="Search rule, value or technique" applied=${shown.alertWords} onApply=${(/** @type {string} */ alertWords) => navigate({ alertWords })} />
    ${shown.alertRule !== "" && html`<${RuleChip} />`}
  </div>`;
}

/** Whom to look at first: the users and addresses about whom most was found. */
function Riskiest() {
  const answer = riskiest.body;
  /** @type {any[]} */
  const users = (answer?.riskyUsers ?? []).map((/** @type {any} */ user) => ({
    key: `user ${user.userId} ${user.username}`,
    text: user.username ?? user.userId,
    change: { tab: "profile", profile: userProfile(user.userId, user.username) },
    risk: user,
  }));
  /** @type {any[]} */
  const addresses = (answer?.riskyAddresses ?? []).map((/** @type {any} */ one) => ({
    key: one.ip,
    text: one.ip,
    change: { tab: "events", filters: { ip: [one.ip] }, start: `-${RISK_DAYS}d`, end: "" },
    risk: one,
  }));
  return html`<aside class="rail" aria-label="Riskiest">
    <${Panel} title="Riskiest users" name="risky-users" resource=${riskiest} note="last 30 days" retry=${retry}><${Risky} rows=${users} /><//>
    <${Panel} title="Riskiest addresses" name="risky-addresses" resource=${riskiest} note="last 30 days" retry=${retry}><${Risky} rows=${addresses} /><//>
  </aside>`;
}

/** @param {{ rows: any[] }} props */
function Risky({ rows }) {
  if (rows.length === 0) return html`<p class="quiet">Nothing was found about anybody.</p>`;
  return html`<ul class="about">
    ${rows.map(
      ({ key, text, change, risk }) => html`<li key=${key} class="risky">
        <a class="row-link" href=${link(change)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, change)}>${text}</a>
        <span class="risk risk-${risk.riskBand}"><b>${Math.round(risk.riskScore)}</b> ${risk.riskBand}</span>
      </li>`,
    )}
  </ul>`;
}

/** The rule whose alerts alone are shown. */
function RuleChip() {
  const { alertRule } = view.value;
  const title = alerts.body?.data.find((/** @type {any} */ row) => row.rule_id === alertRule)?.title ?? alertRule;
  return html`<span class="chip">
    <span>Rule: <b>${title}</b></span>
    <button type="button" class="icon-button" onClick=${() => navigate({ alertRule: "" })}>
      <${Icon} name="close" /><span class="off-screen">Show the alerts of every rule</span>
    </button>
  </span>`;
}

function List() {
  const answer = alerts.body;
  /** @type {any[]} */
  const rows = answer?.data ?? [];
  const more = (answer?.total ?? 0) - rows.length;
  const note = answer === null ? undefined : `${count(answer.total)} ${answer.total === 1 ? "alert" : "alerts"}, newest first`;
  return html`<${Panel} title="Alerts" name="alerts" resource=${alerts} note=${note} retry=${retry}>
    ${rows.length === 0 ? html`<${Nothing} />` : html`<${Table} rows=${rows} />`}
    ${more > 0 && html`<p class="quiet">${count(more)} more; narrow the list to see them.</p>`}
  <//>`;
}

/** @param {{ rows: any[] }} props */
function Table({ rows }) {
  return html`<table class="list alerts">
    <caption class="off-screen">Alerts, newest first</caption>
    <thead>
      <tr>
        <th scope="col" class="at-severity">Severity</th>
        <th scope="col" class="at-what">What, and about whom</th>
        <th scope="col" class="at-state">State</th>
        <th scope="col" class="at-count number">Fired</th>
        <th scope="col" class="at-seen">First, last seen</th>
        <th scope="col" class="at-score number">Risk</th>
      </tr>
    </thead>
    <tbody>${rows.map((row) => html`<${Row} key=${row.id} row=${row} />`)}</tbody>
  </table>`;
}

/** @param {{ row: any }} props */
function Row({ row }) {
  const { zone, alert: open } = view.value;
  const change = { alert: row.id };
  /** @param {MouseEvent} click */
  const onClick = (click) => {
    if (String(getSelection()) === "") follow(click, change);
  };
  const first = cell(row.opened, zone);
  const last = cell(row.last, zone);
  return html`<tr class=${`row${row.id === open ? " is-chosen" : ""}`} onClick=${onClick}>
    <td class="at-severity"><${Severity} level=${row.level} /></td>
    <td class="at-what">
      <a class="row-link" href=${link(change)} aria-current=${row.id === open ? "true" : undefined} onClick=${onClick}>${row.title}</a>
      <span class="second"><${Group} group=${row.group} /></span>
      <span class="second small-screen quiet">${count(row.count)} ${row.count === 1 ? "time" : "times"} · last ${last.day}, ${last.time.slice(0, 5)}</span>
    </td>
    <td class="at-state"><${AlertState} state=${row.state} />${row.by && html`<span class="second quiet">${row.by}</span>`}</td>
    <td class="at-count number">${count(row.count)}</td>
    <td class="at-seen">
      <time datetime=${row.opened} title=${instant(row.opened, zone)}>${first.day}, ${first.time.slice(0, 8)}</time>
      ${row.last !== row.opened && html`<time class="second quiet" datetime=${row.last} title=${instant(row.last, zone)}>${last.day}, ${last.time.slice(0, 8)}</time>`}
    </td>
    <td class="at-score number">${row.risk}</td>
  </tr>`;
}

function Nothing() {
  const { alertState, severities, alertRule, alertWords } = view.value;
  const narrowed = severities.length > 0 || alertRule !== "" || alertWords !== "";
  const all = () => navigate({ alertState: "all", severities: [], alertRule: "", alertWords: "" });
  return html`<div class="nothing">
    <p><b>${narrowed ? "No alert matches these filters." : alertState === "" || alertState === "open" ? "Nothing needs attention." : "There are no such alerts."}</b></p>
    <p class="quiet">Rules look at every event that comes in; what they find is here within seconds.</p>
    ${(narrowed || alertState !== "all") && html`<p class="nothing-do"><button type="button" class="button" onClick=${all}>Show all alerts</button></p>`}
  </div>`;
}
