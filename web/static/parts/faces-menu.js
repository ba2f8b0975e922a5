// @ts-check
/** The button behind which a question stands in all its forms; they are fetched when somebody looks. */

import { pageOf } from "../data/pages.js";
import { html } from "../html.js";
import { Icon } from "./icon.js";
import { Menu } from "./menu.js";

export function FacesMenu() {
  const label = html`<${Icon} name="copy" /><span class="export-text">Copy as</span>`;
  return html`<${Menu} name="faces" align="end" label=${label} title="Copy as">
    ${(/** @type {() => void} */ close) => html`<${Faces} close=${close} />`}
  <//>`;
}

/** @param {{ close: () => void }} props */
function Faces({ close }) {
  const found = pageOf("faces");
  if (found === null || found instanceof Error) return html`<div class="waiting"><span></span><span></span><span></span></div>`;
  return html`<${found.Page} close=${close} />`;
}
