// @ts-check
/** Something that is asked of the server by a press: while it runs, when it fails, and why it may not be pressed. */

import { useState } from "preact/hooks";
import { Problem } from "../data/api.js";
import { html } from "../html.js";

/**
 * Run changes one at a time; what failed last is kept until the next one.
 * @returns {{ busy: boolean, problem: Problem | null, run: (work: () => Promise<void>) => Promise<boolean> }}
 */
export function useDoing() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  /** @param {() => Promise<void>} work */
  const run = async (work) => {
    if (busy) return false;
    setBusy(true);
    setProblem(null);
    try {
      await work();
      return true;
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem, run };
}

/**
 * A button that says why it is off. It stays reachable by keyboard, so that the reason can be heard.
 * @param {{
 *   text: any, onClick: () => void, main?: boolean, busy?: boolean, reason?: string, submit?: boolean,
 *   describedby?: string,
 * }} props
 */
export function DoButton({ text, onClick, main = false, busy = false, reason = "", submit = false, describedby }) {
  const off = reason !== "" || busy;
  return html`<button
    type=${submit ? "submit" : "button"}
    class=${`button${main ? " is-main" : ""}${off ? " is-barred" : ""}`}
    aria-disabled=${off ? "true" : undefined}
    aria-describedby=${reason !== "" ? describedby : undefined}
    title=${reason || undefined}
    onClick=${(/** @type {MouseEvent} */ click) => {
      if (off) click.preventDefault();
      else if (!submit) onClick();
    }}
  >
    ${text}
  </button>`;
}
