// @ts-check
/** Who is told of alerts, who is not for a while, and what did not arrive. */

import { effect } from "@preact/signals";
import { useState } from "preact/hooks";
import { address, send } from "../data/api.js";
import { status } from "../data/queries.js";
import { refreshNow } from "../data/refresh.js";
import { Resource } from "../data/resource.js";
import { whyNot } from "../data/rights.js";
import { navigate, tab, view } from "../data/store.js";
import { count, instant } from "../format.js";
import { html } from "../html.js";
import { DoButton, useDoing } from "../parts/doing.js";
import { State } from "../parts/marks.js";
import { Failure, Panel } from "../parts/panel.js";
import { SilenceForm } from "../parts/silence-form.js";

const channels = new Resource();
const silences = new Resource();
const outbox = new Resource();

/** Ask for all three. */
export async function load() {
  const asked = [channels.load(address("channels")), silences.load(address("silences")), outbox.load(address("outbox"))];
  return (await Promise.all(asked)).every(Boolean);
}

effect(() => {
  if (tab.value === "channels") void load();
});

const retry = () => void refreshNow({ byHand: true });
const NEEDED = "admin";

/** After something was changed: the lists, and what the head says of them. */
async function reload() {
  await Promise.all([load(), status.load(address("status"))]);
}

export function Page() {
  const reason = whyNot(NEEDED);
  return html`<div class="channels-page">
    ${reason !== "" && whyNot("auditor") === "" && html`<p class="hint" id="channels-why">You see what is set up, and change nothing: ${reason}</p>`}
    <${Channels} />
    <${Silences} />
    <${Outbox} />
  </div>`;
}

function Channels() {
  /** @type {any[]} */
  const rows = channels.body?.data ?? [];
  return html`<${Panel} title="Channels" name="channels" resource=${channels} note="over which people are told of alerts" retry=${retry}>
    ${rows.length === 0 &&
    html`<div class="nothing">
      <p><b>Nobody is told of alerts.</b></p>
      <p class="quiet">Channels are set up in [alerts] of the configuration: Slack, Teams, PagerDuty, Alertmanager, e-mail, webhooks.</p>
    </div>`}
    <ul class="channel-list">${rows.map((row) => html`<${Channel} key=${row.name} row=${row} />`)}</ul>
  <//>`;
}

/** How a channel does, in a word. @param {any} row @returns {{ text: string, kind: "bad" | "warn" | "good" | "quiet" }} */
function wordOf(row) {
  const newest = outbox.body?.data.told.find((/** @type {any} */ one) => one.channel === row.name); // also of before a restart
  if (row.failing || (row.last_error !== null && row.failures === 0) || newest?.ok === false) return { text: "Failing", kind: "bad" };
  if (row.failures > 0) return { text: "Trying again", kind: "warn" };
  return row.last_sent === null && newest === undefined ? { text: "Nothing sent yet", kind: "quiet" } : { text: "Works", kind: "good" };
}

/** @param {{ row: any }} props */
function Channel({ row }) {
  const { zone } = view.value;
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const { busy, problem, run } = useDoing();
  const test = () =>
    run(async () => {
      setAnswer(null);
      setAnswer((await send(`channels/${encodeURIComponent(row.name)}/test`)).data);
    });
  const word = wordOf(row);
  return html`<li class="channel">
    <div class="channel-head">
      <h3>${row.name} <span class="quiet">${row.type}</span></h3>
      <${State} name=${word.text} text=${word.text} kind=${word.kind} />
      <${DoButton} text=${busy ? "Sending …" : "Send a test"} busy=${busy} reason=${whyNot(NEEDED)} describedby="channels-why" onClick=${() => void test()} />
    </div>
    <p class="quiet">
      ${row.heartbeat && "Hears that all is well. "}
      ${row.routes.length === 0 && !row.heartbeat && "No route leads here. "}
      ${row.routes.map((/** @type {any} */ route, /** @type {number} */ place) => html`<span key=${place}>${route.match.length === 0 ? "What no other route takes" : html`Alerts with <code>${route.match.join(", ")}</code>`}${route.group_by.length > 0 && `, together by ${route.group_by.join(", ")}`}. </span>`)}
    </p>
    <p>
      ${row.last_sent !== null && html`<span>Last taken <time datetime=${row.last_sent}>${instant(row.last_sent, zone).slice(0, 19)}</time>. </span>`}
      ${row.pending > 0 && html`<span>${count(row.pending)} wait${row.oldest && html`, since <time datetime=${row.oldest}>${instant(row.oldest, zone).slice(0, 19)}</time>`}. </span>`}
      ${row.last_error !== null && html`<span class="is-bad">Last error: ${row.last_error}</span>`}
    </p>
    <div role="status">
      ${answer !== null && html`<p class=${answer.ok ? "answer is-ok" : "answer is-bad"}>${answer.ok ? "It took the message" : "It did not take the message"}: ${answer.answer}</p>`}
    </div>
    ${problem !== null && html`<${Failure} problem=${problem} />`}
  </li>`;
}

/** @type {Record<string, "bad" | "warn" | "good" | "quiet">} */
const SILENCE_KINDS = { "in force": "warn", "to come": "good", ended: "quiet" };

function Silences() {
  /** @type {any[]} */
  const rows = silences.body?.data ?? [];
  const writing = view.value.silence;
  const note = silences.body === null ? undefined : `${count(rows.filter((row) => row.state === "in force").length)} in force`;
  const tools = html`<span class="tools">
    ${writing.length === 0 &&
    html`<${DoButton} text="New silence" reason=${whyNot(NEEDED)} describedby="channels-why" onClick=${() => navigate({ silence: ['level="low"'] })} />`}
  </span>`;
  return html`<${Panel} title="Silences" name="silences" resource=${silences} note=${note} tools=${tools} retry=${retry}>
    ${writing.length > 0 && html`<${SilenceForm} matchers=${writing} reason=${whyNot(NEEDED)} made=${reload} />`}
    ${rows.length === 0 && writing.length === 0 && html`<p class="quiet">None: whoever is to be told of an alert is told.</p>`}
    <ul class="silence-list">${rows.map((row) => html`<${Silence} key=${row.id} row=${row} />`)}</ul>
  <//>`;
}

/** @param {{ row: any }} props */
function Silence({ row }) {
  const { zone } = view.value;
  const { busy, problem, run } = useDoing();
  const over = row.state === "ended";
  const expire = () =>
    run(async () => {
      await send(`silences/${encodeURIComponent(row.id)}/expire`);
      await reload();
    });
  return html`<li class=${over ? "silence is-over" : "silence"}>
    <div class="channel-head">
      <h3><code>${row.matchers.join(", ")}</code></h3>
      <${State} name=${row.state} kind=${SILENCE_KINDS[row.state] ?? "quiet"} />
      ${!over && html`<${DoButton} text="End it now" busy=${busy} reason=${whyNot(NEEDED)} describedby="channels-why" onClick=${() => void expire()} />`}
    </div>
    <p>${row.comment}</p>
    <p class="quiet">
      By ${row.author}, from <time datetime=${row.starts}>${instant(row.starts, zone).slice(0, 16)}</time> to
      <time datetime=${row.ends}> ${instant(row.ends, zone).slice(0, 16)}</time>${!over && html` · means ${count(row.alerts.length)} ${row.alerts.length === 1 ? "alert" : "alerts"} now`}
    </p>
    ${problem !== null && html`<${Failure} problem=${problem} />`}
  </li>`;
}

function Outbox() {
  const data = outbox.body?.data;
  const { busy, problem, run } = useDoing();
  /** @param {string} path */
  const act = (path) =>
    run(async () => {
      await send(`outbox/${path}`);
      await reload();
    });
  const dead = data?.dead_total ?? 0;
  const note = data === undefined ? undefined : dead === 0 ? "nothing was given up" : `${count(dead)} ${dead === 1 ? "message was" : "messages were"} given up`;
  const tools =
    dead > 0 &&
    html`<span class="tools outbox-tools">
      <${DoButton} text="Send them again" main busy=${busy} reason=${whyNot(NEEDED)} describedby="channels-why" onClick=${() => void act("retry")} />
      <${DoButton} text="Throw them away" busy=${busy} reason=${whyNot(NEEDED)} describedby="channels-why" onClick=${() => void act("discard")} />
    </span>`;
  return html`<${Panel} title="Messages" name="outbox" resource=${outbox} note=${note} tools=${tools} retry=${retry}>
    ${problem !== null && html`<${Failure} problem=${problem} />`}
    ${data !== undefined &&
    html`
      <${Letters} title="Given up" rows=${data.dead.map(deadRow)} total=${data.dead_total} bad />
      <${Letters} title="Waiting" rows=${data.pending.map(waitingRow)} total=${data.pending_total} />
      <${Letters} title="Lately" rows=${data.told.map(toldRow)} total=${data.told.length} />
      ${data.told.length + data.dead_total + data.pending_total === 0 && html`<p class="quiet">No message has left yet.</p>`}
    `}
  <//>`;
}

/** @typedef {{ key: string, channel: string, kind: string, when: string, what: string, alerts: string, bad: boolean }} LetterRow */

/** Titles of alerts, each once with how often it occurs. @param {readonly string[]} titles */
const titlesOf = (titles) =>
  [...new Set(titles)].map((title) => {
    const times = titles.filter((other) => other === title).length;
    return times === 1 ? title : `${title} × ${count(times)}`;
  }).join(", ");

/** @param {any} one @returns {LetterRow} */
const deadRow = (one) => ({ key: one.key, channel: one.channel, kind: one.kind, when: one.given_up, what: one.why, alerts: titlesOf(one.alerts), bad: true });
/** @param {any} one @returns {LetterRow} */
const waitingRow = (one) => ({ key: one.key, channel: one.channel, kind: one.kind, when: one.since, what: "waits", alerts: titlesOf(one.alerts), bad: false });
/** @param {any} one @returns {LetterRow} */
const toldRow = (one) => ({
  key: `${one.key} ${one.when}`,
  channel: one.channel,
  kind: one.kind,
  when: one.when,
  what: one.answer,
  alerts: `${count(one.alerts.length)} ${one.alerts.length === 1 ? "alert" : "alerts"}`,
  bad: !one.ok,
});

/** @param {{ title: string, rows: LetterRow[], total: number }} props */
function Letters({ title, rows, total }) {
  const { zone } = view.value;
  if (rows.length === 0) return null;
  return html`<h3>${title} <span class="quiet">${count(total)}</span></h3>
    <div class="scroll-x" tabindex="0" role="group" aria-label="Messages: ${title}">
      <table>
        <thead>
          <tr><th scope="col">When</th><th scope="col">Channel</th><th scope="col">About</th><th scope="col">Kind</th><th scope="col">What came of it</th></tr>
        </thead>
        <tbody>
          ${rows.map(
            (row) => html`<tr key=${row.key}>
              <td><time datetime=${row.when}>${instant(row.when, zone).slice(0, 19)}</time></td>
              <th scope="row">${row.channel}</th>
              <td>${row.alerts}</td>
              <td>${row.kind}</td>
              <td class=${row.bad ? "is-bad" : ""}>${row.what}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}
