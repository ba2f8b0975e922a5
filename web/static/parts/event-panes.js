// @ts-check
/** The tabs of an event's dialog. Which fields stand where is a table; every value can be copied or filtered by. */

import { member, pretty } from "../data/json-text.js";
import { view } from "../data/store.js";
import { bytes, count, duration, instant } from "../format.js";
import { html } from "../html.js";
import { bandOf, label } from "../vocabulary.js";
import { CopyButton } from "./copy.js";
import { Level, Risk } from "./level.js";
import { Members } from "./members.js";
import { Narrow, filterBy, searchBy } from "./narrow.js";
import { ProfileLink, entityProfile, userProfile } from "./profile-link.js";

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {(event: any) => any} of
 * @property {string} [filter]              the API's parameter, when one can filter by it
 * @property {string} [search]              the field's name in a search, when no parameter names it
 * @property {(value: any, event: any) => any} [show]  how the value is drawn; as text otherwise
 */

/** @type {readonly { title: string, fields: readonly Field[] }[]} */
const OVERVIEW = [
  {
    title: "What happened",
    fields: [
      { name: "Time", of: (e) => e.timestamp, show: (value) => html`<${Moment} at=${value} />` },
      { name: "Level", of: (e) => e.level, filter: "level", show: (value) => html`<${Level} level=${value} />` },
      { name: "Category", of: (e) => e.category, filter: "category", show: label },
      { name: "Action", of: (e) => e.action, filter: "action", show: label },
      { name: "Outcome", of: (e) => e.outcome, filter: "outcome", show: label },
      { name: "Affected users", of: (e) => e.affectedUsersCount, search: "affectedUsersCount", show: count },
    ],
  },
  {
    title: "Who and where",
    fields: [
      { name: "User", of: (e) => e.user?.username, filter: "username", show: (value, e) => html`<${ProfileLink} profile=${userProfile(e.user?.id, value)} text=${value} />` },
      { name: "User ID", of: (e) => e.user?.id, filter: "user_id" },
      { name: "Actor", of: (e) => e.actorType, search: "actorType" },
      { name: "On behalf of", of: (e) => e.onBehalfOf, search: "onBehalfOf" },
      { name: "Tenant", of: (e) => e.tenant, search: "tenant" },
      { name: "Address", of: (e) => e.request?.ip, filter: "ip" },
      { name: "Country", of: (e) => e.location?.country, filter: "country" },
      { name: "City", of: (e) => e.location?.city, filter: "city" },
    ],
  },
  {
    title: "Acted on",
    fields: [
      { name: "Type", of: (e) => e.entity?.type, filter: "entity_type" },
      { name: "ID", of: (e) => e.entity?.id, filter: "entity_id", show: (value, e) => html`<${ProfileLink} profile=${entityProfile(e.entity?.type, value)} text=${String(value)} />` },
      { name: "Name", of: (e) => e.entity?.name, filter: "entity_name" },
    ],
  },
  {
    title: "Belongs to",
    fields: [
      { name: "Event ID", of: (e) => e.eventId, search: "eventId" },
      { name: "Correlation", of: (e) => e.correlationId, filter: "correlation_id" },
      { name: "Session", of: (e) => e.sessionId, filter: "session_id" },
      { name: "Trace", of: (e) => e.traceId, search: "traceId" },
      { name: "Span", of: (e) => e.spanId, search: "spanId" },
      { name: "Rule", of: (e) => e.ruleId, search: "ruleId" },
    ],
  },
  {
    title: "Came from",
    fields: [
      { name: "Server", of: (e) => e.system?.server, filter: "server" },
      { name: "Environment", of: (e) => e.system?.environment, filter: "environment" },
      { name: "Version", of: (e) => e.system?.version, search: "system.version" },
      { name: "File", of: (e) => e.source?.file, filter: "source" },
      { name: "Byte in the file", of: (e) => e.source?.offset, show: count },
      { name: "Archived", of: (e) => e.ingestedAt, show: (value) => html`<${Moment} at=${value} />` },
      { name: "Number in the archive", of: (e) => e.seq, show: count },
      { name: "Notes of the parser", of: (e) => (e.flags?.length > 0 ? e.flags.join(", ") : null) },
    ],
  },
];

/** @type {readonly Field[]} */
const REQUEST = [
  { name: "Method", of: (e) => e.request?.method, filter: "method" },
  { name: "Path", of: (e) => e.request?.path, filter: "path" },
  { name: "Status", of: (e) => e.request?.statusCode, filter: "status_code" },
  { name: "Time taken", of: (e) => e.request?.responseTime, show: duration },
  { name: "Answer's size", of: (e) => e.response?.bytes, show: bytes },
  { name: "Address", of: (e) => e.request?.ip, filter: "ip" },
  { name: "User agent", of: (e) => e.request?.userAgent, filter: "user_agent" },
  { name: "Device", of: (e) => e.device, search: "device" },
];

/** @param {{ event: any, duplicates: number }} props */
export function Overview({ event, duplicates }) {
  return html`
    ${duplicates > 0 &&
    html`<p class="hint">${count(duplicates)} more ${duplicates === 1 ? "line carries" : "lines carry"} this event's ID; the first is shown.</p>`}
    <${RiskPart} event=${event} />
    ${OVERVIEW.map(({ title, fields }) => html`<${Fields} key=${title} title=${title} fields=${fields} event=${event} />`)}
  `;
}

/** @param {{ event: any }} props */
function RiskPart({ event }) {
  if (event.riskScore === null || event.riskScore === undefined) return null;
  /** @type {any[]} */
  const reasons = event.riskReasons ?? [];
  return html`<section class="fields">
    <h3>Risk</h3>
    <div class="risk-line">
      <${Risk} score=${event.riskScore} />
      <svg class="bar-track risk-${bandOf(event.riskScore)}" width="100%" height="6" aria-hidden="true">
        <rect class="bar-ground" width="100%" height="6" rx="3" />
        <rect class="bar-fill" width="${event.riskScore}%" height="6" rx="3" />
      </svg>
    </div>
    ${reasons.length > 0 &&
    html`<ul class="reasons">
      ${reasons.map((reason) => html`<li key=${reason.reason}><b class="number">+${reason.points}</b> ${label(reason.reason)} ${reason.detail && html`<span class="quiet">${reason.detail}</span>`}</li>`)}
    </ul>`}
  </section>`;
}

/** @param {{ event: any, text: string }} props */
export function Request({ event, text }) {
  const headers = member(text, ["request", "headers"]);
  const answered = member(text, ["response", "headers"]);
  const any = REQUEST.some((field) => isThere(field.of(event)));
  return html`
    ${!any && html`<p class="quiet">This event did not come with a request.</p>`}
    <${Fields} title="Request" fields=${REQUEST} event=${event} />
    ${isObject(headers) && html`<${Json} title="Request headers" text=${headers} />`}
    ${isObject(answered) && html`<${Json} title="Response headers" text=${answered} />`}
  `;
}

/** @param {{ event: any, text: string }} props */
export function Metadata({ event, text }) {
  const parts = [
    { title: "Metadata", field: "metadata", text: member(text, ["metadata"]) },
    { title: "Changes", field: "changes", text: member(text, ["changes"]) },
    { title: "Other fields of the line", field: "extra", text: member(text, ["extra"]) },
  ].filter((part) => isObject(part.text));
  /** @type {string[]} */
  const tags = event.tags ?? [];
  return html`
    ${tags.length > 0 &&
    html`<section class="fields">
      <h3>Tags</h3>
      <ul class="tags">
        ${tags.map((tag) => html`<li key=${tag}><button type="button" class="chip" onClick=${() => filterBy("tag", tag, false)}>${tag}</button></li>`)}
      </ul>
    </section>`}
    ${parts.map((part) => html`<${Members} key=${part.field} title=${part.title} field=${part.field} value=${event[part.field]} /><${Json} title=${`${part.title} as JSON`} text=${part.text} />`)}
    ${parts.length === 0 && tags.length === 0 && html`<p class="quiet">This event carries no metadata.</p>`}
  `;
}

/** @param {{ title: string, text: string | null }} props */
function Json({ title, text }) {
  const shown = pretty(text ?? "");
  return html`<section class="fields json">
    <div class="json-tools"><h3>${title}</h3><${CopyButton} small label="Copy ${title.toLowerCase()}" text=${shown} /></div>
    <pre tabindex="0" aria-label=${title}>${shown}</pre>
  </section>`;
}

/** @param {{ title: string, fields: readonly Field[], event: any }} props */
function Fields({ title, fields, event }) {
  const there = fields.filter((field) => isThere(field.of(event)));
  if (there.length === 0) return null;
  return html`<section class="fields">
    <h3>${title}</h3>
    <dl>
      ${there.map((field) => {
        const value = field.of(event);
        return html`<div key=${field.name}>
          <dt>${field.name}</dt>
          <dd>
            <span class="value">${field.show === undefined ? String(value) : field.show(value, event)}</span>
            <span class="value-tools"><${ValueTools} field=${field} value=${String(value)} /></span>
          </dd>
        </div>`;
      })}
    </dl>
  </section>`;
}

/** @param {{ field: Field, value: string }} props */
function ValueTools({ field, value }) {
  const { filter, search } = field;
  const plain = filter !== undefined && !value.startsWith("!"); // a leading ! would turn the filter round
  const said = plain ? "" : (search ?? filter ?? "");
  /** @param {boolean} excluded */
  const onNarrow = (excluded) => (plain ? filterBy(filter, value, excluded) : searchBy(said, [], value, excluded));
  return html`
    ${(plain || said !== "") && html`<${Narrow} text=${`${field.name} ${value}`} onNarrow=${onNarrow} />`}
    <${CopyButton} small label="Copy ${field.name}" text=${value} />
  `;
}

/** @param {{ at: string }} props */
function Moment({ at }) {
  const { zone } = view.value;
  const other = zone === "utc" ? "local" : "utc";
  return html`<time datetime=${at}>${instant(at, zone)} ${zone === "utc" ? "UTC" : ""}</time>
    <span class="quiet other-zone">${instant(at, other)} ${other === "utc" ? "UTC" : "local"}</span>`;
}

/** @param {unknown} value */
const isThere = (value) => value !== null && value !== undefined && value !== "";

/** @param {string | null} text */
const isObject = (text) => text !== null && text !== "null" && text !== "{}" && text !== "[]";
