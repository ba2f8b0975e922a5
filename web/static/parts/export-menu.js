// @ts-check
/** The present filter as a file: plain links, so that the browser streams it and the server sets no limit. */

import { address } from "../data/api.js";
import { list, session } from "../data/queries.js";
import { view } from "../data/store.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { exportQuery } from "../state.js";
import { CopyButton } from "./copy.js";
import { Icon } from "./icon.js";
import { Menu } from "./menu.js";

/** @type {{ format: "json" | "csv" | "ndjson", text: string, note: string }[]} */
const FORMATS = [
  { format: "csv", text: "CSV", note: "for a spreadsheet" },
  { format: "json", text: "JSON", note: "one array" },
  { format: "ndjson", text: "NDJSON", note: "one event a line" },
];

/** The command that asks the same of the API. @param {string} url */
function curl(url) {
  const quoted = new URL(url, location.href).href.replaceAll("'", "%27");
  return `curl -fOJ '${quoted}'`;
}

export function ExportMenu() {
  const caller = session.body?.data;
  if (caller !== undefined && !caller.scopes.includes("export")) return null;
  const total = list.body?.total;
  const label = html`<${Icon} name="save" /><span class="export-text">Export</span>`;
  return html`<${Menu} name="export" align="end" label=${label} title="Export">
    ${(/** @type {() => void} */ close) => html`
      <p class="menu-note">${total === undefined ? "Every event" : total === 1 ? "The one event" : `All ${count(total)} events`} of the present filter</p>
      <ul>
        ${FORMATS.map(({ format, text, note }) => {
          const url = address("events/export", exportQuery(view.value, format));
          return html`<li key=${format}>
            <a class="menu-item" href=${url} download onClick=${() => setTimeout(close)}><b>${text}</b> <span class="quiet">${note}</span></a>
          </li>`;
        })}
      </ul>
      <div class="menu-foot">
        <${CopyButton} label="Copy as curl" text=${() => curl(address("events/export", exportQuery(view.peek(), "ndjson")))} />
      </div>
    `}
  <//>`;
}
