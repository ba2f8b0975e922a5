// @ts-check
/** The keyboard: what each key does, in one table that also is the help. */

import { useEffect, useRef } from "preact/hooks";
import { refreshNow } from "../data/refresh.js";
import { navigate, view } from "../data/store.js";
import { html } from "../html.js";
import { Icon } from "./icon.js";

/** @type {readonly { key: string, text: string, act?: (help: () => void) => void }[]} */
const KEYS = [
  { key: "/", text: "Search", act: () => focus("#search") },
  { key: "j", text: "Next row", act: () => move(1) },
  { key: "k", text: "Row before", act: () => move(-1) },
  { key: "Enter", text: "Open the row" },
  { key: "Esc", text: "Close, or leave a field" },
  { key: "e", text: "Events", act: () => navigate({ tab: "events" }) },
  { key: "a", text: "Alerts", act: () => navigate({ tab: "alerts" }) },
  { key: "l", text: "Logs", act: () => navigate({ tab: "logs" }) },
  { key: "t", text: "UTC or local times", act: () => navigate({ zone: view.peek().zone === "utc" ? "local" : "utc" }, { replace: true }) },
  { key: "r", text: "Refresh now", act: () => void refreshNow({ byHand: true }) },
  { key: "?", text: "This help", act: (help) => help() },
];

const TYPING = "input, select, textarea, [contenteditable]";

/** Listen to keys while the page lives. @param {() => void} help */
export function useKeys(help) {
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const onKeyDown = (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (event.key === "Escape") {
        if (target.matches(TYPING)) target.blur();
        return;
      }
      if (target.matches(TYPING) || document.querySelector("dialog[open]") !== null) return;
      const found = KEYS.find((entry) => entry.key === event.key);
      if (found?.act === undefined) return;
      event.preventDefault();
      found.act(help);
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, []);
}

/** @param {string} selector */
function focus(selector) {
  /** @type {HTMLElement | null} */ (document.querySelector(selector))?.focus();
}

/** Go to the next or previous row's link: Enter then opens it, as on any link. @param {1 | -1} step */
function move(step) {
  const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("table.events tbody .at-time a, .list .row-link")]);
  const at = links.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const next = at === -1 ? links[step === 1 ? 0 : links.length - 1] : links[Math.min(links.length - 1, Math.max(0, at + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

/** @param {{ close: () => void }} props */
export function HelpDialog({ close }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  return html`<dialog class="help" ref=${dialog} aria-labelledby="help-title" onClose=${close}>
    <header class="event-head">
      <h2 id="help-title">Keys</h2>
      <button type="button" class="icon-button" onClick=${() => dialog.current?.close()}>
        <${Icon} name="close" /><span class="off-screen">Close</span>
      </button>
    </header>
    <dl class="keys">
      ${KEYS.map(({ key, text }) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}
    </dl>
  </dialog>`;
}
