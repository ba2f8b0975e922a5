// @ts-check
/** A field whose text narrows a list when Enter is pressed or the field is left. */

import { useEffect, useState } from "preact/hooks";
import { html } from "../html.js";
import { Icon } from "./icon.js";

/**
 * A text that is the reader's until it is applied.
 * @param {string} applied
 */
export function useDraft(applied) {
  const [draft, setDraft] = useState(applied);
  useEffect(() => setDraft(applied), [applied]);
  return /** @type {const} */ ([draft, setDraft]);
}

/** @param {{ label: string, applied: string, onApply: (text: string) => void }} props */
export function SearchField({ label, applied, onApply }) {
  const [draft, setDraft] = useDraft(applied);
  const apply = () => onApply(draft.trim());
  /** @param {Event} event */
  const onSubmit = (event) => {
    event.preventDefault();
    apply();
  };
  return html`<form class="search" role="search" aria-label=${label} onSubmit=${onSubmit}>
    <${Icon} name="search" />
    <input
      type="search"
      id="search"
      aria-label=${label}
      aria-keyshortcuts="/"
      placeholder=${label}
      autocomplete="off"
      spellcheck=${false}
      value=${draft}
      onInput=${(/** @type {any} */ event) => setDraft(event.currentTarget.value)}
      onChange=${apply}
    />
    <kbd aria-hidden="true">/</kbd>
  </form>`;
}
