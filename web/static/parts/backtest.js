// @ts-check
/** What a rule would have done over the archive: how often, when, about whom, and on which events. */

import { useEffect, useState } from "preact/hooks";
import { Histogram } from "../charts/histogram.js";
import { justBefore } from "../charts/scale.js";
import { send } from "../data/api.js";
import { whyNot } from "../data/rights.js";
import { link, navigate, openEvent, view } from "../data/store.js";
import { count, instant } from "../format.js";
import { html } from "../html.js";
import { DAYS } from "../state.js";
import { Choose } from "./choose.js";
import { DoButton, useDoing } from "./doing.js";
import { SEVERITIES } from "./marks.js";
import { Failure } from "./panel.js";

const DEFAULT_DAYS = 7;

/** @param {{ body: unknown, keeps?: boolean }} props  `keeps`: the address says that it was tried, and a reload tries again */
export function Backtest({ body, keeps = false }) {
  const asked = view.value.tested;
  const [days, setDays] = useState(asked || DEFAULT_DAYS);
  const [outcomes, setOutcomes] = useState(/** @type {any[] | null} */ (null));
  const { busy, problem, run } = useDoing();
  const reason = whyNot("auditor");
  const go = () =>
    run(async () => {
      if (keeps) navigate({ tested: days }, { replace: true });
      const answer = await send("rules/test", body, new URLSearchParams({ start_date: `-${days}d` }));
      setOutcomes(answer.data);
    });
  useEffect(() => {
    if (keeps && asked > 0 && reason === "") void go();
  }, []);
  const options = DAYS.map((value) => ({ value, text: value === 1 ? "1 day" : `${value} days` }));
  return html`<section class="part backtest" aria-labelledby="backtest-title" aria-busy=${busy ? "true" : "false"}>
    <h3 id="backtest-title">What it would have done</h3>
    <div class="backtest-form">
      <${Choose} legend="Over the last" options=${options} chosen=${days} onChoose=${setDays} />
      <${DoButton} text=${busy ? "Trying …" : "Try it"} main busy=${busy} reason=${reason} describedby="backtest-why" onClick=${() => void go()} />
    </div>
    ${reason !== "" && html`<p class="quiet" id="backtest-why">${reason}</p>`}
    ${problem !== null && html`<${Failure} problem=${problem} />`}
    <div role="status">${outcomes !== null && problem === null && outcomes.map((outcome) => html`<${Outcome} key=${outcome.id} outcome=${outcome} />`)}</div>
  </section>`;
}

/** @param {{ outcome: any }} props */
function Outcome({ outcome }) {
  const { zone } = view.value;
  const mark = SEVERITIES.find(({ name }) => name === outcome.level)?.mark ?? "info";
  const buckets = outcome.series.map((/** @type {any} */ point, /** @type {number} */ place) => {
    const start = Date.parse(point.start);
    const next = outcome.series[place + 1];
    return { start, end: next === undefined ? start + 1000 * outcome.series_seconds : Date.parse(next.start), total: point.fired, byLevel: { fired: point.fired } };
  });
  /** @param {number} start @param {number} end */
  const onRange = (start, end) => navigate({ tab: "events", rule: null, start: new Date(start).toISOString(), end: justBefore(end), filters: {} });
  return html`<div class="outcome">
    <p class="outcome-said">
      <b>${outcome.fired === 0 ? "It would not have fired." : `It would have fired ${times(outcome.fired)} and made ${count(outcome.episodes)} ${outcome.episodes === 1 ? "alert" : "alerts"}`}</b>
      ${outcome.fired > 0 && html` about ${count(outcome.groups)} ${outcome.groups === 1 ? "group" : "groups"}.`}
      <span class="quiet"> Found out in ${outcome.seconds.toFixed(2)} s.</span>
    </p>
    ${outcome.fired > 0 &&
    html`${buckets.length > 0 && html`<${Histogram} buckets=${buckets} zone=${zone} onRange=${onRange} parts=${[{ name: "fired", text: "Fired", mark: `level-${mark}` }]} what="How often it would have fired" />`}
      <${Groups} outcome=${outcome} />
      <h4>The newest events at which it would have fired</h4>
      <ol class="evidence">
        ${[...outcome.examples].reverse().map(
          (/** @type {any} */ one) => html`<li key=${one.seq}>
            <a
              class="row-link"
              href=${link({ event: one.eventId, pane: "overview" })}
              onClick=${(/** @type {MouseEvent} */ click) => {
                if (click.metaKey || click.ctrlKey || click.shiftKey) return;
                click.preventDefault();
                openEvent(one.eventId);
              }}
              ><time datetime=${one.timestamp}>${instant(one.timestamp, zone)}</time></a
            >
            <span class="second quiet">${one.group.join(", ") || one.eventId}${one.value !== null && ` · counted ${count(one.value)}`}</span>
          </li>`,
        )}
      </ol>`}
  </div>`;
}

/** @param {{ outcome: any }} props */
function Groups({ outcome }) {
  const named = outcome.group_by.join(", ");
  if (named === "" || outcome.top.length === 0) return null;
  return html`<h4>Most often for (${named})</h4>
    <table class="small-table">
      <caption class="off-screen">Groups for which it would have fired most often</caption>
      <thead class="off-screen"><tr><th scope="col">${named}</th><th scope="col">Fired</th></tr></thead>
      <tbody>
        ${outcome.top.map((/** @type {any} */ one) => html`<tr key=${one.group.join("\n")}><th scope="row">${one.group.join(", ")}</th><td class="number">${count(one.fired)}</td></tr>`)}
      </tbody>
    </table>`;
}

/** @param {number} number */
const times = (number) => (number === 1 ? "once" : `${count(number)} times`);
