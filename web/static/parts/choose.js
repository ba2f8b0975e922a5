// @ts-check
/** One of a few, side by side: a group of buttons of which one is pressed. */

import { html } from "../html.js";

/**
 * @param {{
 *   legend: string, chosen: string | number, onChoose: (value: any) => void,
 *   options: readonly { value: string | number, text: string, count?: number | string | undefined }[],
 * }} props
 */
export function Choose({ legend, options, chosen, onChoose }) {
  return html`<div class="choose" role="group" aria-label=${legend}>
    ${options.map(
      ({ value, text, count }) => html`<button
        type="button"
        key=${value}
        class="button"
        aria-pressed=${value === chosen ? "true" : "false"}
        onClick=${() => onChoose(value)}
      >
        ${text}${count !== undefined && html` <span class="quiet number">${count}</span>`}
      </button>`,
    )}
  </div>`;
}
