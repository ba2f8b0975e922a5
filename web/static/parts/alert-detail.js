// @ts-check
/** One alert in full: what it means, what to do, on which events, what became of it, and who was told. */

import { useState } from "preact/hooks";
import { send } from "../data/api.js";
import { whyNot } from "../data/rights.js";
import { follow, link, view } from "../data/store.js";
import { count, instant } from "../format.js";
import { html } from "../html.js";
import { quoted } from "../quoting.js";
import { CopyButton } from "./copy.js";
import { DoButton, useDoing } from "./doing.js";
import { Evidence } from "./evidence.js";
import { Facts, Techniques, several } from "./facts.js";
import { Icon } from "./icon.js";
import { AlertState, Group, Severity } from "./marks.js";
import { Failure } from "./panel.js";

const AROUND_MS = 3_600_000; // an hour on each side of an alert, when somebody looks at its surroundings

/** What can be done with an alert of each state. */
const DOINGS = /** @type {Record<string, readonly { path: string, text: string, main: boolean }[]>} */ ({
  open: [
    { path: "acknowledge", text: "Acknowledge", main: true },
    { path: "resolve", text: "Resolve", main: false },
  ],
  acknowledged: [
    { path: "resolve", text: "Resolve", main: true },
    { path: "reopen", text: "Open again", main: false },
  ],
  resolved: [{ path: "reopen", text: "Open again", main: true }],
});

const OWN = "watchkeep."; // with which the rules of alerts begin that no rule made

/** @param {{ resource: import("../data/resource.js").Resource, changed: () => Promise<unknown> }} props */
export function AlertDetail({ resource, changed }) {
  const answer = resource.body;
  const row = answer?.data ?? null;
  const problem = resource.problem.value;
  const close = { alert: null };
  return html`<section class="panel detail" aria-labelledby="alert-title" aria-busy=${resource.loading.value ? "true" : "false"}>
    <header class="detail-head">
      <a class="button back" href=${link(close)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, close)}><${Icon} name="left" /> All alerts</a>
      <a class="icon-button detail-close" title="Close" href=${link(close)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, close)}>
        <${Icon} name="close" /><span class="off-screen">Close</span>
      </a>
    </header>
    ${problem !== null && html`<${Failure} problem=${problem} stale=${row !== null} />`}
    ${row === null && problem === null && html`<div class="waiting"><span></span><span></span><span></span></div>`}
    ${row === null ? html`<h2 id="alert-title" class="off-screen">Alert</h2>` : html`<${Whole} row=${row} history=${answer.history} told=${answer.told} changed=${changed} />`}
  </section>`;
}

/** @param {{ row: any, history: any[], told: any[], changed: () => Promise<unknown> }} props */
function Whole({ row, history, told, changed }) {
  const { zone } = view.value;
  return html`
    <div class="detail-title">
      <p class="detail-marks"><${Severity} level=${row.level} /><${AlertState} state=${row.state} /></p>
      <h2 id="alert-title">${row.title}</h2>
      <p><${Group} group=${row.group} /></p>
    </div>
    <${Doing} row=${row} changed=${changed} />
    <${Facts}
      rows=${[
        ["What to do", row.runbook && html`<b>${row.runbook}</b>`],
        ["Meaning", row.description],
        ["False positives", several(row.false_positives)],
        ["Fired", `${count(row.count)} ${row.count === 1 ? "time" : "times"}`],
        ["First seen", html`<time datetime=${row.opened}>${instant(row.opened, zone)}</time>`],
        ["Last seen", html`<time datetime=${row.last}>${instant(row.last, zone)}</time>`],
        ["Risk of the rule", `${row.risk} of 100`],
        ["Techniques", row.techniques.length > 0 && html`<${Techniques} techniques=${row.techniques} />`],
        ["Rule", row.rule_id.startsWith(OWN) ? "None: Watchkeep watches itself and its sources" : html`<${RuleLink} row=${row} />`],
        ["Author", row.author],
        ["References", several(row.references)],
      ]}
    />
    <${Evidence} row=${row} />
    <${History} history=${history} told=${told} />
    <p class="detail-foot">
      <${CopyButton} label="Copy link" text=${() => new URL(link({ alert: row.id, event: null }), location.href).href} />
      <${CopyButton} label="Copy ID" text=${row.id} />
    </p>
  `;
}

/** @param {{ row: any }} props */
function RuleLink({ row }) {
  const change = { tab: /** @type {const} */ ("rules"), rule: row.rule_id, alert: null };
  return html`<a href=${link(change)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, change)}>${row.title}</a>`;
}

/** What can be done now, with a comment that stays in the history. @param {{ row: any, changed: () => Promise<unknown> }} props */
function Doing({ row, changed }) {
  const [comment, setComment] = useState("");
  const { busy, problem, run } = useDoing();
  const reason = whyNot("auditor");
  /** @param {string} path */
  const act = (path) =>
    run(async () => {
      await send(`alerts/${encodeURIComponent(row.id)}/${path}`, { comment: comment.trim() });
      setComment("");
      await changed();
    });
  const doings = DOINGS[row.state] ?? [];
  const silence = { tab: /** @type {const} */ ("channels"), alert: null, silence: matchersOf(row) };
  return html`<div class="doing">
    ${problem !== null && html`<${Failure} problem=${problem} />`}
    <label class="doing-comment">
      <span>Comment</span>
      <input
        type="text"
        maxlength="2000"
        autocomplete="off"
        placeholder="Why; stays in the history"
        value=${comment}
        disabled=${reason !== ""}
        onInput=${(/** @type {any} */ event) => setComment(event.currentTarget.value)}
      />
    </label>
    <p class="doing-buttons">
      ${doings.map(
        ({ path, text, main }) => html`<${DoButton} key=${path} text=${text} main=${main} busy=${busy} reason=${reason} describedby="doing-why" onClick=${() => void act(path)} />`,
      )}
      <a class="button" href=${link(silence)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, silence)}>Silence …</a>
      <${Surroundings} row=${row} />
    </p>
    ${reason !== "" && html`<p class="quiet" id="doing-why">${reason}</p>`}
  </div>`;
}

/** Matchers that mean this alert and its like. @param {any} row */
function matchersOf(row) {
  return [`rule=${quoted(row.rule_id)}`, ...row.group.map((/** @type {any} */ part) => `${part.field}=${quoted(part.value)}`)];
}

/** The events around the alert of whom it is about. @param {{ row: any }} props */
function Surroundings({ row }) {
  const q = row.group.map((/** @type {any} */ part) => `${part.field}:${quoted(part.value)}`).join(" ");
  const change = {
    tab: /** @type {const} */ ("events"),
    alert: null,
    start: new Date(Date.parse(row.opened) - AROUND_MS).toISOString(),
    end: new Date(Date.parse(row.last) + AROUND_MS).toISOString(),
    filters: q === "" ? {} : { q: [q] },
  };
  return html`<a class="button" href=${link(change)} title="Their events from an hour before to an hour after" onClick=${(/** @type {MouseEvent} */ click) => follow(click, change)}>Events around it</a>`;
}

/** What became of it, and who was told, newest first. @param {{ history: any[], told: any[] }} props */
function History({ history, told }) {
  const { zone } = view.value;
  const rows = [
    ...history.map((change) => ({ at: Date.parse(change.when), when: change.when, key: change.event_id, kind: change.change, ...wordsOf(change) })),
    ...told.map((one) => ({
      at: Date.parse(one.when),
      when: one.when,
      key: `${one.key} ${one.when}`,
      kind: one.ok ? "told" : "untold",
      text: one.ok ? `Told over ${one.channel}` : `Nobody was told over ${one.channel}`,
      note: `${one.kind}: ${one.answer}`,
    })),
  ].sort((a, b) => b.at - a.at);
  return html`<section class="part" aria-labelledby="history-title">
    <h3 id="history-title">History</h3>
    ${rows.length === 0 && html`<p class="quiet">Nothing yet.</p>`}
    <ol class="history">
      ${rows.map(
        (row) => html`<li key=${row.key} class=${`is-${row.kind}`}>
          <time datetime=${row.when}>${instant(row.when, zone).slice(0, 19)}</time>
          <span><b>${row.text}</b>${row.note && html` <span class="quiet">${row.note}</span>`}</span>
        </li>`,
      )}
    </ol>
  </section>`;
}

/** @type {Record<string, string>} */
const CHANGES = { opened: "Opened", updated: "Fired again", acknowledged: "Acknowledged", resolved: "Resolved", reopened: "Opened again" };

/** A change in words. @param {any} change */
function wordsOf(change) {
  const done = CHANGES[change.change] ?? String(change.change);
  const times = change.count === null || change.count === undefined ? "" : `${count(change.count)} ${change.count === 1 ? "time" : "times"} so far`;
  const found = change.change === "opened" || change.change === "updated";
  const by = change.by === null ? (found ? "" : " by the daemon: it was quiet for long enough") : ` by ${change.by}`;
  return { text: `${done}${by}`, note: found ? times : change.comment };
}
