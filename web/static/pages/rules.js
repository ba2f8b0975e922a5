// @ts-check
/** What looks at events: every rule, whether it can work here, how often it fired, and what it would have done. */

import { computed, effect } from "@preact/signals";
import { address } from "../data/api.js";
import { refreshNow } from "../data/refresh.js";
import { Resource } from "../data/resource.js";
import { follow, link, navigate, tab, view } from "../data/store.js";
import { cell, count, instant } from "../format.js";
import { html } from "../html.js";
import { Choose } from "../parts/choose.js";
import { Severity } from "../parts/marks.js";
import { Panel } from "../parts/panel.js";
import { RuleDetail, RuleState, WORKING } from "../parts/rule-detail.js";
import { SearchField } from "../parts/search-field.js";

const rules = new Resource();
const rulesUrl = address("rules");
const openId = computed(() => view.value.rule);

/** Ask for the rules. */
export async function load() {
  return rules.load(rulesUrl);
}

effect(() => {
  if (tab.value === "rules") void rules.load(rulesUrl);
});

const retry = () => void refreshNow({ byHand: true });
const NEW = "new"; // the address of a rule that is only tried

export function Page() {
  const id = openId.value;
  const row = rules.body?.data.find((/** @type {any} */ rule) => rule.id === id) ?? null;
  return html`<div class=${id === null ? "pair" : "pair is-open"}>
    <div class="pair-list">
      <${Filters} />
      <${List} />
    </div>
    ${id !== null && (id === NEW || rules.body !== null) && html`<${RuleDetail} key=${id} row=${row} id=${id} />`}
  </div>`;
}

/** The rules that the filters let through. */
function wanted() {
  const { ruleState, ruleWords } = view.value;
  const words = ruleWords.toLowerCase();
  /** @type {any[]} */
  const all = rules.body?.data ?? [];
  return all.filter(
    (rule) =>
      (ruleState === "" || WORKING.has(rule.state) === (ruleState === "working")) &&
      (words === "" || [rule.title, rule.id, rule.description, ...rule.tags].join("\n").toLowerCase().includes(words)),
  );
}

function Filters() {
  const shown = view.value;
  /** @type {any[]} */
  const all = rules.body?.data ?? [];
  const working = all.filter((rule) => WORKING.has(rule.state)).length;
  const options = [
    { value: "", text: "All", count: count(all.length) },
    { value: "working", text: "Working", count: count(working) },
    { value: "not", text: "Not working", count: count(all.length - working) },
  ];
  const attempt = { rule: NEW, tested: 0 };
  return html`<div class="filters">
    <${Choose} legend="State" options=${options} chosen=${shown.ruleState} onChoose=${(/** @type {string} */ ruleState) => navigate({ ruleState })} />
    <${SearchField} label="Search title, technique or text" applied=${shown.ruleWords} onApply=${(/** @type {string} */ ruleWords) => navigate({ ruleWords })} />
    <a class="button" href=${link(attempt)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, attempt)}>Try a rule …</a>
  </div>`;
}

function List() {
  const rows = wanted().sort((a, b) => Number(WORKING.has(a.state)) - Number(WORKING.has(b.state)) || b.risk - a.risk || a.title.localeCompare(b.title));
  const note = rules.body === null ? undefined : `${count(rows.length)} ${rows.length === 1 ? "rule" : "rules"}`;
  return html`<${Panel} title="Rules" name="rules" resource=${rules} note=${note} retry=${retry}>
    ${rows.length === 0 && html`<div class="nothing"><p><b>${(rules.body?.data ?? []).length === 0 ? "The rules are being read." : "No rule matches these filters."}</b></p></div>`}
    ${rows.length > 0 &&
    html`<table class="list rules">
      <caption class="off-screen">Rules, those that do not work first</caption>
      <thead>
        <tr>
          <th scope="col" class="at-severity">Severity</th>
          <th scope="col" class="at-what">Rule</th>
          <th scope="col" class="at-state">State</th>
          <th scope="col" class="at-count number">Alerts</th>
          <th scope="col" class="at-count number">Fired</th>
          <th scope="col" class="at-seen">Last fired</th>
        </tr>
      </thead>
      <tbody>${rows.map((row) => html`<${Row} key=${`${row.id} ${row.title} ${row.why}`} row=${row} />`)}</tbody>
    </table>`}
  <//>`;
}

/** @param {{ row: any }} props */
function Row({ row }) {
  const { zone, rule } = view.value;
  const change = { rule: row.id, tested: 0 };
  /** @param {MouseEvent} click */
  const onClick = (click) => {
    if (String(getSelection()) === "") follow(click, change);
  };
  const last = row.last_fired === null ? null : cell(row.last_fired, zone);
  const good = WORKING.has(row.state);
  return html`<tr class=${`row${row.id === rule ? " is-chosen" : ""}`} onClick=${onClick}>
    <td class="at-severity"><${Severity} level=${row.level} /></td>
    <td class="at-what">
      <a class="row-link" href=${link(change)} aria-current=${row.id === rule ? "true" : undefined} onClick=${onClick}>${row.title}</a>
      ${!good && html`<span class="second quiet">${row.why}</span>`}
      ${row.alerts > 0 && html`<span class="second small-screen quiet">${count(row.alerts)} ${row.alerts === 1 ? "alert" : "alerts"}</span>`}
    </td>
    <td class="at-state"><${RuleState} state=${row.state} /></td>
    <td class="at-count number">${count(row.alerts)}${row.open_alerts > 0 && html`<span class="second quiet">${count(row.open_alerts)} open</span>`}</td>
    <td class="at-count number">${count(row.fired, true)}</td>
    <td class="at-seen">
      ${last === null ? html`<span class="quiet">–</span>` : html`<time datetime=${row.last_fired} title=${instant(row.last_fired, zone)}>${last.day}, ${last.time.slice(0, 8)}</time>`}
    </td>
  </tr>`;
}
