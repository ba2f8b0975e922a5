// @ts-check
/** A list of values with their counts as bars; each value narrows the view or leaves itself out. */

import { useState } from "preact/hooks";
import { count, share } from "../format.js";
import { html } from "../html.js";
import { Icon } from "../parts/icon.js";

export const FEW = 5; // rows a phone shows at first; the style sheet hides the others there

/**
 * @typedef {{ value: string, text: any, plain: string, count: number, mark?: string }} Row
 *   `text` is shown, `plain` is how it is read out, `mark` a class for the bar's colour
 */

/**
 * @param {{
 *   rows: readonly Row[], chosen: readonly string[], what: string,
 *   onOnly: (value: string) => void, onNot?: (value: string) => void,
 * }} props
 */
export function BarList({ rows, chosen, what, onOnly, onNot }) {
  const [all, setAll] = useState(false);
  const whole = rows.reduce((sum, row) => sum + row.count, 0);
  const greatest = Math.max(1, ...rows.map((row) => row.count));
  if (rows.length === 0) return html`<p class="quiet">None in this range.</p>`;
  return html`<ul class=${all ? "bars" : "bars is-cut"}>
    ${rows.map((row) => {
      const on = chosen.includes(row.value);
      return html`<li key=${row.value} class=${on ? "is-chosen" : ""}>
        <button
          type="button"
          class="bar-button"
          aria-pressed=${on ? "true" : "false"}
          title=${on ? `Stop filtering by ${what} ${row.plain}` : `Only ${what} ${row.plain}`}
          onClick=${() => onOnly(row.value)}
        >
          <span class="bar-text">${row.text}</span>
          <span class="number">${count(row.count)}</span>
          <span class="number quiet bar-share">${share(row.count, whole)}</span>
          <svg class="bar-track ${row.mark ?? ""}" aria-hidden="true" height="4" width="100%">
            <rect class="bar-ground" width="100%" height="4" rx="2" />
            <rect class="bar-fill" width="${(100 * row.count) / greatest}%" height="4" rx="2" />
          </svg>
        </button>
        ${onNot !== undefined &&
        html`<button type="button" class="icon-button bar-not" title="Leave out ${what} ${row.plain}" onClick=${() => onNot(row.value)}>
          <${Icon} name="not" /><span class="off-screen">Leave out ${what} ${row.plain}</span>
        </button>`}
      </li>`;
    })}
  </ul>
  ${rows.length > FEW && html`<button type="button" class="link-button more" onClick=${() => setAll(true)}>All ${rows.length}</button>`}`;
}
