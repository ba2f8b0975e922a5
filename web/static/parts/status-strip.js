// @ts-check
/** How the daemon is doing, in one line; what is wrong stands out below it. */

import { status } from "../data/queries.js";
import { view } from "../data/store.js";
import { bytes, count, minute, span } from "../format.js";
import { html } from "../html.js";
import { lagOf, warningsOf } from "../data/warnings.js";
import { Icon } from "./icon.js";

export function StatusStrip() {
  const known = status.body;
  const problem = status.problem.value;
  const { zone } = view.value;
  if (known === null) {
    if (problem === null) return html`<div class="strip"><span class="quiet">Asking the daemon …</span></div>`;
    return html`<div class="strip"><p class="warning" role="alert"><${Icon} name="warning" /> ${problem.title}. ${problem.hint}</p></div>`;
  }
  const warnings = warningsOf(known);
  const lag = lagOf(known);
  return html`
    <div class="strip">
      <span class=${problem === null && warnings.length === 0 ? "pulse" : "pulse is-bad"}>
        ${problem !== null ? "Not answering" : warnings.length > 0 ? "Needs attention" : "Watching"}
      </span>
      <span title="Bytes in the log files that no query can see yet"><span class="quiet">Lag</span> <b class="number">${bytes(lag)}</b></span>
      <span><span class="quiet">Archive</span> <b class="number">${count(known.events, true)}</b> <span class="quiet">events</span><span class="strip-wide"><span class="quiet">,</span> <b class="number">${bytes(known.bytes)}</b></span></span>
      ${known.oldest && html`<span class="strip-wide"><span class="quiet">Since</span> <b class="number">${minute(known.oldest, zone)}</b></span>`}
      ${known.last_commit && html`<span class="strip-wide"><span class="quiet">Last commit</span> <b class="number">${ago(known.last_commit)}</b></span>`}
      <span class="strip-wide strip-end quiet">${known.node} · ${known.version}</span>
    </div>
    ${warnings.length > 0 &&
    html`<ul class="warnings" role="status">
      ${warnings.map((text) => html`<li class="warning" key=${text}><${Icon} name="warning" /> ${text}</li>`)}
    </ul>`}
  `;
}

/** @param {string} moment */
const ago = (moment) => `${span(Date.now() - Date.parse(moment))} ago`;
