// @ts-check
/** The events of an alert: those at which its rule fired, and on request all because of which it did. */

import { useState } from "preact/hooks";
import { address } from "../data/api.js";
import { useAnswer } from "../data/use-answer.js";
import { follow, link, openEvent, view } from "../data/store.js";
import { count, instant } from "../format.js";
import { html } from "../html.js";
import { quoted } from "../quoting.js";
import { headline } from "../vocabulary.js";
import { Choose } from "./choose.js";
import { Level } from "./level.js";
import { Failure } from "./panel.js";

const MOST = 100; // events whose words are asked for; the others are shown by their ids
const MOST_CHARS = 5000; // of a search that stands in an address, which has room for 8,000

/** The search that finds some events by id. @param {readonly string[]} ids */
const searchFor = (ids) => `eventId:(${ids.map(quoted).join(" OR ")})`;

/** As many of some ids as one question has room for, the last of them. @param {readonly string[]} ids */
function roomFor(ids) {
  let asked = ids.slice(-MOST);
  while (asked.length > 1 && encodeURIComponent(searchFor(asked)).length > MOST_CHARS) asked = asked.slice(Math.ceil(asked.length / 4));
  return asked;
}

/** @param {{ row: any }} props */
export function Evidence({ row }) {
  const [which, setWhich] = useState("fired");
  /** @type {string[]} */
  const ids = row.evidence;
  if (ids.length === 0) return null;
  const options = [
    { value: "fired", text: "Where it fired" },
    { value: "behind", text: "All behind it" },
  ];
  return html`<section class="part" aria-labelledby="evidence-title">
    <h3 id="evidence-title">Events</h3>
    <${Choose} legend="Which events" options=${options} chosen=${which} onChoose=${setWhich} />
    ${which === "fired" ? html`<${Fired} row=${row} />` : html`<${Behind} row=${row} />`}
  </section>`;
}

/** @param {{ row: any }} props */
function Fired({ row }) {
  /** @type {string[]} */
  const ids = row.evidence;
  const left = row.count - ids.length;
  return html`<${Events} ids=${ids} start=${row.opened} end=${row.last} />
    ${left > 0 && html`<p class="quiet">${count(left)} more are not named: the first twenty and the last twenty are.</p>`}`;
}

/** The events in the windows that a rule looked at, asked for when somebody wants to see them. @param {{ row: any }} props */
function Behind({ row }) {
  const { answer, problem } = useAnswer(address(`alerts/${encodeURIComponent(row.id)}/events`));
  if (problem !== null) return html`<${Failure} problem=${problem} />`;
  if (answer === null) return html`<div class="waiting"><span></span><span></span><span></span></div>`;
  /** @type {any[]} */
  const found = answer.data;
  if (found.length === 0) return html`<p class="quiet">None of them is archived any more.</p>`;
  const fired = new Set(found.filter((one) => one.fired).map((one) => one.eventId));
  const last = found[found.length - 1];
  return html`<${Events} ids=${found.map((one) => one.eventId)} fired=${fired} start=${found[0].timestamp} end=${last.timestamp} />`;
}

/**
 * Events by id, each with its words once these are known, and all of them as a view of the list.
 * @param {{ ids: readonly string[], start: string, end: string, fired?: ReadonlySet<string> }} props
 */
function Events({ ids, start, end, fired }) {
  const asked = roomFor(ids);
  const query = new URLSearchParams({ q: searchFor(asked), start_date: start, end_date: end, internal: "true", limit: String(MOST) });
  const { answer, problem } = useAnswer(address("events", query));
  /** @type {Map<string, any>} */
  const known = new Map((answer?.data ?? []).map((/** @type {any} */ event) => [String(event.eventId), event]));
  const all = {
    tab: /** @type {const} */ ("events"),
    alert: null,
    start,
    end,
    filters: { q: [searchFor(asked)], internal: ["true"] },
  };
  return html`${problem !== null && html`<${Failure} problem=${problem} />`}
    <ol class="evidence">
      ${ids.map((id, place) => html`<li key=${`${id} ${place}`}><${EventLink} id=${id} event=${known.get(id)} fired=${fired?.has(id) === true} /></li>`)}
    </ol>
    <p class="quiet">
      <a href=${link(all)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, all)}>In the list of events</a>
      ${asked.length < ids.length && ` (the newest ${count(asked.length)})`}
    </p>`;
}

/** @param {{ id: string, event: any, fired: boolean }} props */
function EventLink({ id, event, fired }) {
  const { zone } = view.value;
  /** @param {MouseEvent} click */
  const onClick = (click) => {
    if (click.metaKey || click.ctrlKey || click.shiftKey) return;
    click.preventDefault();
    openEvent(id);
  };
  return html`<a class="row-link" href=${link({ event: id, pane: "overview" })} onClick=${onClick}>${event === undefined ? id : headline(event)}</a>
    ${event !== undefined &&
    html`<span class="second quiet"
      ><time datetime=${event.timestamp}>${instant(event.timestamp, zone)}</time> <${Level} level=${event.level} /> ${event.user?.username ?? ""} ${event.request?.ip ?? ""} ${fired && html`<b>fired here</b>`}</span
    >`}`;
}
