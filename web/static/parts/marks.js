// @ts-check
/** Marks of alerts and rules: how grave, in which state, whom it is about. */

import { follow, link } from "../data/store.js";
import { html } from "../html.js";
import { label } from "../vocabulary.js";
import { LevelMark } from "./level.js";
import { ProfileLink, userProfile } from "./profile-link.js";

/** Levels of rules, least first, and the level of an event whose mark each has. */
export const SEVERITIES = Object.freeze(
  /** @type {const} */ ([
    { name: "informational", mark: "debug" },
    { name: "low", mark: "info" },
    { name: "medium", mark: "warning" },
    { name: "high", mark: "error" },
    { name: "critical", mark: "critical" },
  ]),
);

/** @param {string} level */
const markOf = (level) => SEVERITIES.find(({ name }) => name === level)?.mark ?? "info";

/** The mark of a rule's level without its word. @param {{ level: string }} props */
export function SeverityMark({ level }) {
  return html`<${LevelMark} level=${markOf(level)} />`;
}

/** A rule's level as mark and word. @param {{ level: string }} props */
export function Severity({ level }) {
  return html`<span class="level"><${SeverityMark} level=${level} />${label(level)}</span>`;
}

/** A word in a frame: a state. @param {{ name: string, kind: "bad" | "warn" | "good" | "quiet", text?: string }} props */
export function State({ name, kind, text }) {
  return html`<span class="state is-${kind}">${text ?? label(name)}</span>`;
}

/** @type {Record<string, "bad" | "warn" | "good" | "quiet">} */
const ALERT_KINDS = { open: "bad", acknowledged: "warn", resolved: "quiet" };

/** @param {{ state: string }} props */
export function AlertState({ state }) {
  return html`<${State} name=${state} kind=${ALERT_KINDS[state] ?? "quiet"} />`;
}

/**
 * Whom or what an alert is about: each field with its value, which leads to its profile or its events where it has any.
 * @param {{ group: readonly { field: string, value: string }[] }} props
 */
export function Group({ group }) {
  return group.map(
    ({ field, value }, index) => html`${index > 0 && ", "}<span class="group-part" key=${field}>
      <span class="quiet">${field}</span> <${Named} field=${field} value=${value} />
    </span>`,
  );
}

/**
 * A value that leads on, if its field names a user or an address.
 * @param {{ field: string, value: string }} props
 */
function Named({ field, value }) {
  const profile = profileOf(field, value);
  if (profile !== null) return html`<${ProfileLink} profile=${profile} text=${value} />`;
  if (!ADDRESS_FIELDS.has(field.toLowerCase())) return html`<b>${value}</b>`;
  const change = { tab: /** @type {const} */ ("events"), alert: null, filters: { ip: [value] }, start: ADDRESS_RANGE, end: "" };
  return html`<a href=${link(change)} title="Its events" onClick=${(/** @type {MouseEvent} */ click) => follow(click, change)}>${value}</a>`;
}

const ADDRESS_FIELDS = new Set(["request.ip", "ip", "client.ip", "source.ip", "src_ip", "sourceip", "clientip"]);
const ADDRESS_RANGE = "-30d"; // of an address's events: the range in which risk is summed

const USER_FIELDS = new Set(["user.id", "user_id", "userid", "uid"]);
const NAME_FIELDS = new Set(["username", "user.name", "user.username", "user", "actor"]);

/**
 * How the address names the profile of a user, null where a field names none.
 * @param {string} field
 * @param {string} value
 */
function profileOf(field, value) {
  const name = field.toLowerCase();
  if (USER_FIELDS.has(name)) return userProfile(value, null);
  return NAME_FIELDS.has(name) ? userProfile(null, value) : null;
}
