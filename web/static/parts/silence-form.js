// @ts-check
/** A silence that is being written: what it means is said before it is in force. */

import { useEffect, useState } from "preact/hooks";
import { Problem, send } from "../data/api.js";
import { navigate } from "../data/store.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { Choose } from "./choose.js";
import { DoButton, useDoing } from "./doing.js";
import { Failure } from "./panel.js";

const HOUR_SECONDS = 3600;
const HOURS = [1, 4, 24, 168];
const PAUSE_MS = 350; // after a key, before it is asked what the matchers mean

/** @param {{ matchers: readonly string[], reason: string, made: () => Promise<void> }} props */
export function SilenceForm({ matchers, reason, made }) {
  const [text, setText] = useState(matchers.join("\n"));
  const [comment, setComment] = useState("");
  const [hours, setHours] = useState(4);
  const { busy, problem, run } = useDoing();
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  const meant = useMeant(lines, reason === "");
  const missing = lines.length === 0 ? "Say which alerts." : comment.trim() === "" ? "Say why nobody is to be told." : "";
  /** @param {Event} event */
  const onSubmit = (event) => {
    event.preventDefault();
    if (missing !== "" || reason !== "") return;
    void run(async () => {
      await send("silences", { matchers: lines, comment: comment.trim(), seconds: hours * HOUR_SECONDS });
      navigate({ silence: [] });
      await made();
    });
  };
  /** @param {string} now */
  const write = (now) => {
    setText(now);
    const kept = now.split("\n").map((line) => line.trim()).filter(Boolean);
    if (kept.length > 0) navigate({ silence: kept }, { replace: true });
  };
  return html`<form class="silence-form" onSubmit=${onSubmit} aria-label="New silence">
    <label>
      <span>Alerts with <span class="quiet">(one condition a line, all must hold: =, !=, =~, !~)</span></span>
      <textarea class="rule-text" rows="3" spellcheck=${false} value=${text} onInput=${(/** @type {any} */ event) => write(event.currentTarget.value)}></textarea>
    </label>
    <div role="status">
      ${meant.problem !== null && html`<p class="is-bad">${meant.problem.detail || meant.problem.title}</p>`}
      ${meant.problem === null && meant.alerts !== null && html`<p class="quiet">Means ${count(meant.alerts)} of the alerts that are not over.</p>`}
    </div>
    <label>
      <span>Why</span>
      <input type="text" maxlength="2000" autocomplete="off" value=${comment} onInput=${(/** @type {any} */ event) => setComment(event.currentTarget.value)} />
    </label>
    <div class="silence-span">
      <span>For</span>
      <${Choose} legend="For how long" options=${HOURS.map((value) => ({ value, text: value < 48 ? `${value} h` : `${value / 24} d` }))} chosen=${hours} onChoose=${setHours} />
    </div>
    ${problem !== null && html`<${Failure} problem=${problem} />`}
    <p class="doing-buttons">
      <${DoButton} submit main text="Silence" busy=${busy} reason=${reason || missing} describedby="silence-why" onClick=${() => {}} />
      <button type="button" class="button" onClick=${() => navigate({ silence: [] })}>Cancel</button>
    </p>
    <p class="quiet" id="silence-why">${reason || missing || "It ends by itself, and can be ended before. It is an event, with who made it."}</p>
  </form>`;
}

/**
 * How many alerts matchers mean, asked after a pause.
 * @param {readonly string[]} lines
 * @param {boolean} may
 */
function useMeant(lines, may) {
  const [alerts, setAlerts] = useState(/** @type {number | null} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const wanted = lines.join("\n");
  useEffect(() => {
    setProblem(null);
    setAlerts(null);
    if (wanted === "" || !may) return undefined;
    let gone = false;
    const timer = setTimeout(async () => {
      try {
        const body = { matchers: wanted.split("\n"), comment: "?", seconds: HOUR_SECONDS };
        const answer = await send("silences", body, new URLSearchParams({ dry_run: "true" }));
        if (!gone) setAlerts(answer.data.alerts.length);
      } catch (error) {
        if (!gone) setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
      }
    }, PAUSE_MS);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [wanted, may]);
  return { alerts, problem };
}
