// @ts-check
/** Levels and risk as marks with words: colour, shape and text say the same, so none is needed alone. */

import { html } from "../html.js";
import { bandOf, isLevel, label } from "../vocabulary.js";

const SHAPES = {
  debug: "M6 2.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7Z",
  info: "M6 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8Z",
  warning: "M6 1.500L11 10.500H1Z",
  error: "M6 .800L11.200 6 6 11.200.800 6Z",
  critical: "M1.500 1.500h9v9h-9Z",
};

/** The mark of a level, without its word. @param {{ level: string }} props */
export function LevelMark({ level }) {
  const known = isLevel(level) ? /** @type {keyof typeof SHAPES} */ (level) : "info";
  return html`<svg class="mark level-${known}" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
    <path d=${SHAPES[known]} />
  </svg>`;
}

/** A level as mark and word. @param {{ level: string }} props */
export function Level({ level }) {
  return html`<span class="level"><${LevelMark} level=${level} />${label(level)}</span>`;
}

/** A risk score with its band in words; a dash when there is none. @param {{ score: number | null | undefined }} props */
export function Risk({ score }) {
  const band = bandOf(score);
  if (band === null) return html`<span class="quiet" aria-label="no risk score">–</span>`;
  return html`<span class="risk risk-${band}"><b>${score}</b> ${band}</span>`;
}
