// @ts-check
/** A part of the page with a heading, that shows its own waiting and its own failure. */

import { html } from "../html.js";
import { Icon } from "./icon.js";

/**
 * @param {{
 *   title: any, name: string, resource?: import("../data/resource.js").Resource, tools?: any, note?: any,
 *   retry?: () => void, children?: any,
 * }} props
 */
export function Panel({ title, name, resource, tools, note, retry, children }) {
  const problem = resource?.problem.value ?? null;
  const empty = resource !== undefined && resource.answer.value === null;
  const busy = resource?.loading.value === true;
  return html`<section class="panel panel-${name}" aria-labelledby="${name}-title" aria-busy=${busy ? "true" : "false"}>
    <header class="panel-head">
      <h2 id="${name}-title">${title}</h2>
      ${note !== undefined && html`<p class="panel-note">${note}</p>`}
      ${tools}
    </header>
    ${problem !== null && html`<${Failure} problem=${problem} stale=${!empty} retry=${retry} />`}
    ${!empty && html`<div class=${busy ? "panel-body is-old" : "panel-body"}>${children}</div>`}
    ${empty && problem === null && html`<div class="panel-body waiting"><span></span><span></span><span></span></div>`}
  </section>`;
}

/**
 * What went wrong in one part, and what to do.
 * @param {{ problem: import("../data/api.js").Problem, stale?: boolean, retry?: () => void }} props
 */
export function Failure({ problem, stale = false, retry }) {
  if (problem.position !== null && !stale) return html`<p class="quiet">The search cannot be read.</p>`; // its box says why
  return html`<div class="failure" role="alert">
    <${Icon} name="warning" />
    <div>
      <p><b>${problem.title}.</b>${problem.detail !== "" && html` ${problem.detail}`}</p>
      ${problem.hint !== "" && html`<p class="quiet">${problem.hint}</p>`}
      ${stale && html`<p class="quiet">What is shown is from before.</p>`}
      ${problem.requestId !== "" && html`<p class="quiet">Request <code>${problem.requestId}</code></p>`}
    </div>
    ${retry !== undefined && html`<button type="button" class="button" onClick=${retry}>Try again</button>`}
  </div>`;
}
