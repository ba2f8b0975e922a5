// @ts-check
/** Small drawings. Each is a path in a 16 × 16 box, drawn in the colour of the text around it. */

import { html } from "../html.js";

const PATHS = {
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.4 10.4l3.6 3.6",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  down: "M4 6.5l4 4 4-4",
  left: "M9.5 4l-4 4 4 4",
  right: "M6.5 4l4 4-4 4",
  out: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM5 7h4M10.4 10.4l3.6 3.6",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  check: "M3 8.5l3.2 3.2L13 4.8",
  only: "M8 3v10M3 8h10",
  not: "M3 8h10",
  refresh: "M13 3v3.5H9.5M13 6.2A5.2 5.2 0 1 0 13.2 9",
  save: "M8 2.5v7.5M4.8 7L8 10.2 11.2 7M3 13.5h10",
  warning: "M8 2.5l6 11H2zM8 6.8v3M8 11.6v.1",
  link: "M6.8 9.2l2.4-2.4M7 5l1.6-1.6a2.6 2.6 0 0 1 3.9 3.9L11 9M9 11l-1.600 1.600a2.600 2.600 0 0 1-3.900-3.900L5 7",
};

/** @param {{ name: keyof typeof PATHS }} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}
