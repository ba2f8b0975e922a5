// @ts-check
/** What is known of one user or one thing: since when, what it does, when, from where, and how risky that is. */

import { computed, effect } from "@preact/signals";
import { BarList } from "../charts/bars.js";
import { Heatmap } from "../charts/heatmap.js";
import { Histogram } from "../charts/histogram.js";
import { justBefore } from "../charts/scale.js";
import { address } from "../data/api.js";
import { refreshNow } from "../data/refresh.js";
import { Resource } from "../data/resource.js";
import { follow, link, navigate, openEvent, tab, view } from "../data/store.js";
import { count, instant, minute, zoneName } from "../format.js";
import { html } from "../html.js";
import { Choose } from "../parts/choose.js";
import { Level, Risk } from "../parts/level.js";
import { AlertState, Severity } from "../parts/marks.js";
import { Failure, Panel } from "../parts/panel.js";
import { DAYS } from "../state.js";
import { BANDS, LEVELS, headline, label } from "../vocabulary.js";

const EVENTS = 30; // newest ones of the timeline: the list of events has all
const SHOWN = 8; // rows of a list of values
const NAME = "name:";

const profile = new Resource();
const risk = new Resource();
const alerts = new Resource();

/**
 * Whose profile an address means: its path in the API, the filters that mean the same, and how it is called.
 * @param {string | null} of
 * @returns {{ path: string, filters: Record<string, readonly string[]>, kind: string, text: string } | null}
 */
function subjectOf(of) {
  /** @type {string[]} */
  let parts;
  try {
    parts = (of ?? "").split("/").map(decodeURIComponent);
  } catch {
    return null;
  }
  const [kind, first, second] = parts;
  if (kind === "user" && first) {
    const named = first.startsWith(NAME);
    const text = named ? first.slice(NAME.length) : first;
    return { path: `users/${encodeURIComponent(first)}`, filters: { [named ? "username" : "user_id"]: [text] }, kind: "User", text };
  }
  if (kind === "entity" && first && second) {
    const path = `entities/${encodeURIComponent(first)}/${encodeURIComponent(second)}`;
    return { path, filters: { entity_type: [first], entity_id: [second] }, kind: label(first), text: second };
  }
  return null;
}

const subject = computed(() => subjectOf(view.value.profile));
const range = computed(() => new URLSearchParams({ hours: String(24 * view.value.days), tz: zoneName(view.value.zone) }));
const profileUrl = computed(() => {
  if (subject.value === null) return "";
  const query = new URLSearchParams(range.value);
  query.set("limit", String(EVENTS));
  return address(subject.value.path, query);
});
const riskUrl = computed(() => {
  if (subject.value === null) return "";
  const query = new URLSearchParams(range.value);
  query.set("by", "risk");
  for (const [name, values] of Object.entries(subject.value.filters)) for (const value of values) query.append(name, value);
  return address("events/trends", query);
});
const alertsUrl = computed(() => (subject.value === null ? "" : address("alerts", new URLSearchParams({ search_query: subject.value.text, limit: "20" }))));

/** Ask for all that is shown. */
export async function load() {
  if (profileUrl.value === "") return true;
  return (await Promise.all([profile.load(profileUrl.value), risk.load(riskUrl.value), alerts.load(alertsUrl.value)])).every(Boolean);
}

effect(() => {
  if (tab.value === "profile" && profileUrl.value !== "") void load();
});

const retry = () => void refreshNow({ byHand: true });

export function Page() {
  const whose = subject.value;
  if (whose === null) return html`<section class="panel"><h2>Nobody is named</h2><p class="quiet">A profile opens with a press on the name of a user or a thing.</p></section>`;
  const data = profile.body?.data;
  const problem = profile.problem.value;
  return html`<div class="profile-page">
    <${Head} whose=${whose} data=${data} />
    ${problem !== null && data === undefined && html`<${Failure} problem=${problem} retry=${retry} />`}
    ${problem === null && data === undefined && html`<div class="panel waiting"><span></span><span></span><span></span></div>`}
    ${data !== undefined && html`<${Whole} whose=${whose} data=${data} />`}
  </div>`;
}

/** @param {{ whose: any, data: any }} props */
function Head({ whose, data }) {
  const { days, zone } = view.value;
  const name = data?.topUsers?.find((/** @type {any} */ user) => String(user.userId) === whose.text)?.username;
  const events = { tab: /** @type {const} */ ("events"), profile: null, filters: whose.filters, start: `-${days}d`, end: "" };
  return html`<header class="profile-head">
    <div>
      <p class="quiet">${whose.kind}${name && name !== whose.text && html` ${whose.text}`}</p>
      <h2 id="profile-title">${name || whose.text}</h2>
      ${data !== undefined &&
      html`<p class="quiet">
        First seen <time datetime=${data.firstSeen}>${instant(data.firstSeen, zone).slice(0, 19)}</time>, last
        <time datetime=${data.lastSeen}> ${instant(data.lastSeen, zone).slice(0, 19)}</time>
      </p>`}
    </div>
    <div class="profile-tools">
      <${Choose} legend="Over the last" options=${DAYS.map((value) => ({ value, text: value === 1 ? "1 day" : `${value} days` }))} chosen=${days} onChoose=${(/** @type {number} */ now) => navigate({ days: now })} />
      <a class="button" href=${link(events)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, events)}>All its events</a>
    </div>
  </header>`;
}

/** @param {{ whose: any, data: any }} props */
function Whole({ whose, data }) {
  return html`
    <${Figures} data=${data} />
    <div class="profile-columns">
      <div class="profile-main">
        <${RiskOverTime} whose=${whose} />
        <${Activity} whose=${whose} data=${data} />
        <${Panel} title="Usual hours" name="hours" note="by weekday and hour, as clocks here show them"><${Heatmap} heatmap=${data.heatmap} /><//>
        <${Timeline} whose=${whose} data=${data} />
      </div>
      <aside class="rail" aria-label="What is usual">
        <${AlertsPart} />
        <${Reasons} risk=${data.risk.entity} />
        <${Risky} data=${data} />
        <${Values} title="Countries" name="country" what="country" whose=${whose} counts=${Object.entries(data.byCountry)} />
        <${Values} title="Addresses" name="ip" what="address" whose=${whose} counts=${data.topIps.map((/** @type {any} */ row) => [row.ip, row.eventCount])} />
        <${Values} title="Actions" name="action" what="action" whose=${whose} words counts=${Object.entries(data.byAction)} />
        ${data.devices !== null && html`<${Values} title="Devices" name="user_agent" what="device" whose=${whose} counts=${data.devices.map((/** @type {any} */ row) => [row.userAgent, row.eventCount])} />`}
        ${whose.kind !== "User" && html`<${Values} title="Users" name="username" what="user" whose=${whose} counts=${data.topUsers.map((/** @type {any} */ row) => [row.username, row.eventCount])} />`}
      </aside>
    </div>
  `;
}

/** @param {{ data: any }} props */
function Figures({ data }) {
  const cards = [
    { title: "Events", value: count(data.totals.events, true), note: "in this range" },
    { title: "Error rate", value: `${data.errorRate.toFixed(1)} %`, note: `${count((data.byLevel.error ?? 0) + (data.byLevel.critical ?? 0))} errors` },
    { title: "Risk", value: html`${Math.round(data.risk.entity.riskScore)} <${Band} risk=${data.risk.entity} />`, note: "of all that was found in 30 days" },
    { title: "Riskiest event", value: data.risk.max === null ? "–" : String(data.risk.max), note: `${count(data.risk.byBand.high ?? 0, true)} of high risk` },
  ];
  return html`<ul class="cards">
    ${cards.map(({ title, value, note }) => html`<li class="card" key=${title}><h3>${title}</h3><p class="figure">${value}</p><p class="compared quiet">${note}</p></li>`)}
  </ul>`;
}

/** @param {{ risk: any }} props */
function Band({ risk }) {
  return html`<span class="risk risk-${risk.riskBand}">${risk.riskBand}</span>`;
}

/** What makes it risky: alerts and events, with what each adds to the score. @param {{ risk: any }} props */
function Reasons({ risk }) {
  if (risk.contributions.length === 0) return null;
  const others = risk.contributing - risk.contributions.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.count, 0);
  return html`<${Panel} title="What makes it risky" name="reasons" note="and what each adds">
    <ul class="about">
      ${risk.contributions.map((/** @type {any} */ one, /** @type {number} */ place) => html`<li key=${one.id ?? place}><${Reason} one=${one} /></li>`)}
    </ul>
    ${others > 0 && html`<p class="quiet">${count(others)} more add little.</p>`}
  <//>`;
}

/** @param {{ one: any }} props */
function Reason({ one }) {
  const { zone } = view.value;
  const said = one.title ?? ((one.reasons ?? []).map(label).join(", ") || (one.kind === "events" ? "Other events" : "An event"));
  const text = one.count > 1 ? `${said}, ${count(one.count)} times` : said;
  const alert = { tab: /** @type {const} */ ("alerts"), profile: null, alert: one.id };
  const event = { event: one.id, pane: "overview" };
  const change = one.kind === "alert" ? alert : event;
  return html`${one.id === null || one.id === undefined ? html`<span>${text}</span>` : html`<a class="row-link" href=${link(change)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, change)}>${text}</a>`}
    <span class="second quiet"><b class="number">+${one.adds.toFixed(1)}</b> ${count(one.points)} points ${one.level && html`<${Severity} level=${one.level} />`} ${one.at && html`<time datetime=${one.at}>${minute(one.at, zone)}</time>`}</span>`;
}

const RISK_PARTS = Object.freeze(BANDS.map(({ name, low, high }) => ({ name, text: `${label(name)} (${low}–${high})`, mark: `band-${name}` })));

/** @param {any[]} buckets @param {readonly string[]} names */
function chartOf(buckets, names) {
  return buckets.map((bucket) => ({
    start: Date.parse(bucket.start),
    end: Date.parse(bucket.end),
    total: bucket.events,
    byLevel: Object.fromEntries(names.map((name) => [name, bucket.by?.[name] ?? 0])),
  }));
}

/** A press on a bar shows its events. @param {any} whose */
const toEvents = (whose) => (/** @type {number} */ start, /** @type {number} */ end) =>
  navigate({ tab: "events", profile: null, filters: whose.filters, start: new Date(start).toISOString(), end: justBefore(end) });

/** @param {{ whose: any }} props */
function RiskOverTime({ whose }) {
  const { zone } = view.value;
  const buckets = chartOf(risk.body?.buckets ?? [], BANDS.map(({ name }) => name));
  return html`<${Panel} title="Risk over time" name="risk" resource=${risk} note="events by band of their score" retry=${retry}>
    <${Histogram} buckets=${buckets} zone=${zone} parts=${RISK_PARTS} what="Risk over time" onRange=${toEvents(whose)} />
    <div class="under-chart">
      <ul class="legend" aria-label="Colours of the bands">
        ${RISK_PARTS.map(({ name, text, mark }) => html`<li key=${name}><span class="swatch ${mark}"></span> ${text}</li>`)}
      </ul>
    </div>
  <//>`;
}

/** @param {{ whose: any, data: any }} props */
function Activity({ whose, data }) {
  const { zone } = view.value;
  return html`<${Panel} title="Activity" name="activity" note="events by level">
    <${Histogram} buckets=${chartOf(data.series, LEVELS)} zone=${zone} what="Activity" onRange=${toEvents(whose)} />
  <//>`;
}

function AlertsPart() {
  /** @type {any[]} */
  const rows = alerts.body?.data ?? [];
  return html`<${Panel} title="Alerts" name="about" resource=${alerts} retry=${retry}>
    ${rows.length === 0 && html`<p class="quiet">No alert is about it.</p>`}
    <ul class="about">
      ${rows.map((row) => {
        const change = { tab: /** @type {const} */ ("alerts"), profile: null, alert: row.id };
        return html`<li key=${row.id}>
          <a class="row-link" href=${link(change)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, change)}>${row.title}</a>
          <span class="second quiet"><${Severity} level=${row.level} /> <${AlertState} state=${row.state} /></span>
        </li>`;
      })}
    </ul>
  <//>`;
}

/** The newest events of high risk, each with its reasons. @param {{ data: any }} props */
function Risky({ data }) {
  if (data.risk.high.length === 0) return null;
  return html`<${Panel} title="Newest of high risk" name="high">
    <ul class="about">${data.risk.high.map((/** @type {any} */ event) => html`<${Short} key=${event.seq} event=${event} reasons />`)}</ul>
  <//>`;
}

/** @param {{ event: any, reasons?: boolean }} props */
function Short({ event, reasons = false }) {
  const { zone } = view.value;
  /** @type {any[]} */
  const why = reasons ? (event.riskReasons ?? []) : [];
  return html`<li>
    <a
      class="row-link"
      href=${link({ event: event.eventId, pane: "overview" })}
      onClick=${(/** @type {MouseEvent} */ click) => {
        if (click.metaKey || click.ctrlKey || click.shiftKey) return;
        click.preventDefault();
        openEvent(event.eventId);
      }}
      >${headline(event)}</a
    >
    <span class="second quiet"><time datetime=${event.timestamp}>${minute(event.timestamp, zone)}</time> <${Level} level=${event.level} /> <${Risk} score=${event.riskScore} /></span>
    ${why.length > 0 && html`<span class="second quiet">${why.map((reason) => label(reason.reason)).join(", ")}</span>`}
  </li>`;
}

/**
 * Values with their counts; a press shows its events with that value.
 * @param {{ title: string, name: string, what: string, whose: any, counts: [string, number][], words?: boolean }} props
 */
function Values({ title, name, what, whose, counts, words = false }) {
  const rows = counts
    .filter(([value, number]) => value && number > 0)
    .sort((a, b) => b[1] - a[1])
    .slice(0, SHOWN)
    .map(([value, number]) => ({ value, text: words ? label(value) : value, plain: words ? label(value) : value, count: number }));
  if (rows.length === 0) return null;
  const { days } = view.value;
  /** @param {string} value */
  const onOnly = (value) => navigate({ tab: "events", profile: null, filters: { ...whose.filters, [name]: [value] }, start: `-${days}d`, end: "" });
  return html`<${Panel} title=${title} name=${`usual-${name}`}><${BarList} rows=${rows} what=${what} chosen=${[]} onOnly=${onOnly} /><//>`;
}

/** @param {{ whose: any, data: any }} props */
function Timeline({ whose, data }) {
  const { days } = view.value;
  const events = { tab: /** @type {const} */ ("events"), profile: null, filters: whose.filters, start: `-${days}d`, end: "" };
  /** @type {any[]} */
  const rows = data.timeline.data;
  return html`<${Panel} title="Newest events" name="newest">
    ${rows.length === 0 && html`<p class="quiet">None in this range.</p>`}
    <ul class="about">${rows.map((event) => html`<${Short} key=${event.seq} event=${event} />`)}</ul>
    ${data.timeline.next !== null && html`<p class="quiet"><a href=${link(events)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, events)}>All of them</a></p>`}
  <//>`;
}
