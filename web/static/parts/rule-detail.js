// @ts-check
/** One rule in full, its text, and what it, or a text that is being written, would have done. */

import { useEffect, useState } from "preact/hooks";
import { address } from "../data/api.js";
import { whyNot } from "../data/rights.js";
import { follow, link, view } from "../data/store.js";
import { useAnswer } from "../data/use-answer.js";
import { count, instant } from "../format.js";
import { html } from "../html.js";
import { Backtest } from "./backtest.js";
import { CopyButton } from "./copy.js";
import { Facts, Techniques, several } from "./facts.js";
import { Icon } from "./icon.js";
import { Severity, State } from "./marks.js";
import { Failure } from "./panel.js";

/** States of rules that look at events. */
export const WORKING = new Set(["active", "correlated"]);

/** @type {Record<string, { text: string, kind: "good" | "warn" | "bad" | "quiet" }>} */
const STATES = {
  active: { text: "Active", kind: "good" },
  correlated: { text: "Part of others", kind: "quiet" },
  "unknown fields": { text: "Unknown fields", kind: "warn" },
  "no source": { text: "No source", kind: "warn" },
  unsupported: { text: "Unsupported", kind: "bad" },
};

/** @param {{ state: string }} props */
export function RuleState({ state }) {
  const known = STATES[state] ?? { text: state, kind: "quiet" };
  return html`<${State} name=${state} kind=${known.kind} text=${known.text} />`;
}

const START = `title: Many failures of one user
logsource: {product: watchkeep}
detection:
  failed: {outcome: failure}
  condition: failed
level: medium
group: [user.id]
`;

/** @param {{ id: string, row: any }} props  `row` is null for a rule that is only tried, or one that is not there */
export function RuleDetail({ id, row }) {
  const close = { rule: null, tested: 0 };
  const fresh = id === "new";
  return html`<section class="panel detail" aria-labelledby="rule-title">
    <header class="detail-head">
      <a class="button back" href=${link(close)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, close)}><${Icon} name="left" /> All rules</a>
      <a class="icon-button detail-close" title="Close" href=${link(close)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, close)}>
        <${Icon} name="close" /><span class="off-screen">Close</span>
      </a>
    </header>
    ${row === null && !fresh && html`<h2 id="rule-title">No rule has this id</h2><p class="quiet">It may have been removed since the link was made.</p>`}
    ${fresh && html`<${New} />`}
    ${row !== null && html`<${Whole} row=${row} />`}
  </section>`;
}

/** A rule that nobody wrote down yet. */
function New() {
  const [text, setText] = useState(START);
  useKept(text !== START);
  return html`<div class="detail-title"><h2 id="rule-title">Try a rule</h2><p class="quiet">In Sigma's YAML. Nothing is put in force: rules in force are files in the folders of [rules].</p></div>
    <${Editor} text=${text} setText=${setText} />
    <${Backtest} body=${{ rule: text }} />`;
}

/** @param {{ row: any }} props */
function Whole({ row }) {
  const { zone } = view.value;
  const alerts = { tab: /** @type {const} */ ("alerts"), rule: null, alertRule: row.id, alertState: "all" };
  return html`
    <div class="detail-title">
      <p class="detail-marks"><${Severity} level=${row.level} /><${RuleState} state=${row.state} /></p>
      <h2 id="rule-title">${row.title}</h2>
    </div>
    ${row.why && html`<p class="hint">${row.why}</p>`}
    <${Facts}
      rows=${[
        ["Meaning", row.description],
        ["What to do", row.runbook && html`<b>${row.runbook}</b>`],
        ["False positives", several(row.false_positives)],
        ["Techniques", row.techniques.length > 0 && html`<${Techniques} techniques=${row.techniques} />`],
        ["Looks at", Object.entries(row.source).map(([name, word]) => `${name} ${word}`).join(", ")],
        ["One alert for each", row.group_by.join(", ")],
        ["Counts the matches of", row.correlates.length > 0 && `${count(row.correlates.length)} ${row.correlates.length === 1 ? "rule" : "rules"}`],
        ["Alerts", html`<a href=${link(alerts)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, alerts)}>${count(row.alerts)}</a>, ${count(row.open_alerts)} not over`],
        ["Fired", `${count(row.fired)} ${row.fired === 1 ? "time" : "times"} in the alerts that are remembered`],
        ["Last fired", row.last_fired && html`<time datetime=${row.last_fired}>${instant(row.last_fired, zone)}</time>`],
        ["Author", row.author],
        ["References", several(row.references)],
        ["Id", html`<code>${row.id}</code>`],
      ]}
    />
    <${Attempt} row=${row} />
  `;
}

/** The rule's text, which can be changed for an attempt. @param {{ row: any }} props */
function Attempt({ row }) {
  const reason = whyNot("auditor");
  const { answer, problem } = useAnswer(reason === "" ? address(`rules/${encodeURIComponent(row.id)}`) : "");
  const text = answer === null ? null : String(answer.data.text);
  const [changed, setChanged] = useState(/** @type {string | null} */ (null));
  useKept(changed !== null);
  const body = changed === null ? { id: row.id } : { rule: changed };
  return html`
    <${Backtest} body=${body} keeps />
    <section class="part" aria-labelledby="text-title">
      <h3 id="text-title">Text</h3>
      ${reason !== "" && html`<p class="quiet">${reason}</p>`}
      ${problem !== null && html`<${Failure} problem=${problem} />`}
      ${text === "" && html`<p class="quiet">Its file cannot be read any more.</p>`}
      ${text !== null &&
      text !== "" &&
      html`<${Editor} text=${changed ?? text} setText=${(/** @type {string} */ now) => setChanged(now === text ? null : now)} />
        <p class="detail-foot">
          <${CopyButton} label="Copy the text" text=${() => changed ?? text} />
          ${changed !== null && html`<button type="button" class="button" onClick=${() => setChanged(null)}>As it is in force</button>`}
        </p>`}
    </section>
  `;
}

/** @param {{ text: string, setText: (text: string) => void }} props */
function Editor({ text, setText }) {
  return html`<textarea
    class="rule-text"
    aria-label="Text of the rule"
    rows="14"
    spellcheck=${false}
    value=${text}
    onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}
  ></textarea>`;
}

/** Ask before a text that was changed is thrown away with the page. @param {boolean} changed */
function useKept(changed) {
  useEffect(() => {
    if (!changed) return undefined;
    /** @param {BeforeUnloadEvent} event */
    const ask = (event) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [changed]);
}
