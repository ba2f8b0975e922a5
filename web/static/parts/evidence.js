// @ts-check
/** The events at which a rule fired: a few of them, each opens in its dialog, and all of them in the list of events. */

import { useEffect, useState } from "preact/hooks";
import { Problem, address, ask } from "../data/api.js";
import { follow, link, openEvent, view } from "../data/store.js";
import { count, instant } from "../format.js";
import { html } from "../html.js";
import { quoted } from "../quoting.js";
import { label } from "../vocabulary.js";
import { Level } from "./level.js";
import { Failure } from "./panel.js";

/** The search that finds some events by id. @param {readonly string[]} ids */
export const evidenceSearch = (ids) => `eventId:(${ids.map(quoted).join(" OR ")})`;

/** @param {{ row: any }} props */
export function Evidence({ row }) {
  /** @type {string[]} */
  const ids = row.evidence;
  const found = useEvents(ids, row.opened, row.last);
  const { zone } = view.value;
  if (ids.length === 0) return null;
  const all = {
    tab: /** @type {const} */ ("events"),
    alert: null,
    start: row.opened,
    end: row.last,
    filters: { q: [evidenceSearch(ids)], internal: ["true"] },
  };
  const left = row.count - ids.length;
  return html`<section class="part" aria-labelledby="evidence-title">
    <h3 id="evidence-title">Events at which it fired</h3>
    ${found.problem !== null && html`<${Failure} problem=${found.problem} />`}
    <ol class="evidence">
      ${ids.map((id) => {
        const event = found.events.get(id);
        return html`<li key=${id}>
          <a
            class="row-link"
            href=${link({ event: id, pane: "overview" })}
            onClick=${(/** @type {MouseEvent} */ click) => {
              if (click.metaKey || click.ctrlKey || click.shiftKey) return;
              click.preventDefault();
              openEvent(id);
            }}
            >${event === undefined ? id : event.description || label(event.action)}</a
          >
          ${event !== undefined &&
          html`<span class="second quiet"
            ><time datetime=${event.timestamp}>${instant(event.timestamp, zone)}</time> <${Level} level=${event.level} /> ${event.request?.ip ?? ""}</span
          >`}
        </li>`;
      })}
    </ol>
    <p class="quiet">
      ${left > 0 && html`${count(left)} more are not named: the first twenty and the last twenty are. `}
      <a href=${link(all)} onClick=${(/** @type {MouseEvent} */ click) => follow(click, all)}>In the list of events</a>
    </p>
  </section>`;
}

/**
 * The events with some ids, asked for once for each set of ids.
 * @param {readonly string[]} ids
 * @param {string} first  the range that holds them
 * @param {string} last
 */
function useEvents(ids, first, last) {
  const [events, setEvents] = useState(/** @type {Map<string, any>} */ (new Map()));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const wanted = ids.join("\n");
  useEffect(() => {
    if (wanted === "") return undefined;
    const leaving = new AbortController();
    const query = new URLSearchParams({ q: evidenceSearch(ids), start_date: first, end_date: last, internal: "true", limit: "100" });
    ask(address("events", query), { signal: leaving.signal }).then(
      (answer) => {
        setEvents(new Map((answer?.body.data ?? []).map((/** @type {any} */ event) => [String(event.eventId), event])));
        setProblem(null);
      },
      (error) => {
        if (!leaving.signal.aborted) setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
      },
    );
    return () => leaving.abort();
  }, [wanted]);
  return { events, problem };
}
