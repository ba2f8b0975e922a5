// @ts-check
/** Copying text, also where the page came over plain HTTP and the clipboard interface is closed. */

import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { Icon } from "./icon.js";

const SAID_MS = 1600; // how long a button says that it has copied

/**
 * @param {string} text
 * @param {HTMLElement} near  a dialog is inert outside itself, so the helper field must stand beside the button
 */
async function copy(text, near) {
  if (navigator.clipboard !== undefined) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed here; the older way needs no permission.
    }
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "off-screen";
  near.after(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  near.focus();
  return copied;
}

/**
 * A button that copies; `text` may be a function so that long texts are made only when wanted.
 * @param {{ text: string | (() => string), label: string, small?: boolean }} props
 */
export function CopyButton({ text, label, small = false }) {
  const [said, setSaid] = useState("");
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  /** @param {MouseEvent} event */
  const onClick = async (event) => {
    const button = /** @type {HTMLElement} */ (event.currentTarget);
    const copied = await copy(typeof text === "function" ? text() : text, button);
    setSaid(copied ? "Copied" : "Not allowed here");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setSaid(""), SAID_MS);
  };
  return html`<button type="button" class=${small ? "icon-button" : "button"} title=${small ? label : undefined} onClick=${onClick}>
    <${Icon} name=${said === "Copied" ? "check" : "copy"} />
    <span class=${small ? "off-screen" : ""} aria-live="polite">${said || label}</span>
  </button>`;
}
