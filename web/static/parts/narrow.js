// @ts-check
/** A value narrows the view by one press: only this, or all but this. */

import { addCondition } from "../data/search.js";
import { navigate, view } from "../data/store.js";
import { only } from "../filters.js";
import { html } from "../html.js";
import { Icon } from "./icon.js";

/**
 * Narrow the view by a value, and show the list.
 * @param {string} name  the API's parameter
 * @param {string} value
 * @param {boolean} excluded
 */
export function filterBy(name, value, excluded) {
  navigate({ tab: "events", event: null, pane: "overview", filters: only(view.peek(), name, value, excluded) });
}

/**
 * Narrow the search by a field that no parameter names.
 * @param {string} field
 * @param {readonly string[]} path  keys below it
 * @param {string} value
 * @param {boolean} exclude
 */
export function searchBy(field, path, value, exclude) {
  navigate({ tab: "events" }, { replace: true });
  void addCondition({ field, ...(path.length > 0 ? { path: [...path] } : {}), operator: "equals", values: [value], exclude });
}

/**
 * The two buttons beside a value. In a table they are for the pointer alone: by keyboard the same stands in the event's
 * dialog, and a row stays one step.
 * @param {{ text: string, onNarrow: (excluded: boolean) => void, inTable?: boolean }} props  `text` says which value
 */
export function Narrow({ text, onNarrow, inTable = false }) {
  /** @param {MouseEvent} click @param {boolean} excluded */
  const press = (click, excluded) => {
    click.stopPropagation(); // the row would open its event
    onNarrow(excluded);
  };
  const tabindex = inTable ? -1 : undefined;
  return html`<button type="button" class="icon-button" tabindex=${tabindex} title="Only this" onClick=${(/** @type {MouseEvent} */ click) => press(click, false)}>
      <${Icon} name="only" /><span class="off-screen">Only ${text}</span>
    </button>
    <button type="button" class="icon-button" tabindex=${tabindex} title="Leave this out" onClick=${(/** @type {MouseEvent} */ click) => press(click, true)}>
      <${Icon} name="not" /><span class="off-screen">Leave out ${text}</span>
    </button>`;
}

/**
 * A value of a row with its two buttons, seen while the pointer is over it.
 * @param {{ name: string, label: string, value: any, children?: any }} props
 */
export function CellValue({ name, label, value, children }) {
  const text = value === null || value === undefined ? "" : String(value);
  if (text === "" || text.startsWith("!")) return children; // a leading ! would turn the filter round
  return html`<span class="cell-value">
    ${children}
    <span class="cell-tools"><${Narrow} inTable text=${`${label} ${text}`} onNarrow=${(/** @type {boolean} */ excluded) => filterBy(name, text, excluded)} /></span>
  </span>`;
}
