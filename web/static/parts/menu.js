// @ts-check
/** A button that opens a panel below itself; Esc and a press elsewhere close it. */

import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { Icon } from "./icon.js";

/**
 * The panel can take the focus itself: a press on its plain text must not move the focus out of the menu.
 * @param {{
 *   label: any, name: string, active?: boolean, align?: "start" | "end", title?: string,
 *   children: (close: () => void) => any,
 * }} props  `children` is called only while the panel is open
 */
export function Menu({ label, name, active = false, align = "start", title, children }) {
  const [open, setOpen] = useState(false);
  const root = useRef(/** @type {HTMLElement | null} */ (null));
  const button = useRef(/** @type {HTMLElement | null} */ (null));
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  useEffect(() => {
    if (!open) return undefined;
    /** @param {PointerEvent} event */
    const outside = (event) => {
      if (!root.current?.contains(/** @type {Node} */ (event.target))) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    close();
  };
  /** @param {FocusEvent} event */
  const onFocusOut = (event) => {
    const next = /** @type {Node | null} */ (event.relatedTarget);
    if (next !== null && !root.current?.contains(next)) setOpen(false);
  };
  return html`<div class="menu" ref=${root} onKeyDown=${onKeyDown} onFocusOut=${onFocusOut}>
    <button
      type="button"
      class=${active ? "button is-active" : "button"}
      ref=${button}
      aria-label=${title}
      aria-expanded=${open ? "true" : "false"}
      aria-controls="${name}-menu"
      onClick=${() => setOpen(!open)}
    >
      ${label}<${Icon} name="down" />
    </button>
    <div class="menu-panel menu-${align}" id="${name}-menu" tabindex="-1" hidden=${!open}>${open && children(close)}</div>
  </div>`;
}

/**
 * A list of words to switch on and off.
 * @param {{ options: readonly { value: string, text: any, count?: string | undefined }[], chosen: readonly string[],
 *   onToggle: (value: string) => void, legend: string }} props
 */
export function Choices({ options, chosen, onToggle, legend }) {
  return html`<fieldset class="choices">
    <legend class="off-screen">${legend}</legend>
    ${options.map(
      ({ value, text, count }) => html`<label class="choice" key=${value}>
        <input type="checkbox" checked=${chosen.includes(value)} onChange=${() => onToggle(value)} />
        <span>${text}</span>
        ${count !== undefined && html`<span class="quiet number">${count}</span>`}
      </label>`,
    )}
    ${options.length === 0 && html`<p class="quiet">Nothing to choose from yet.</p>`}
  </fieldset>`;
}
