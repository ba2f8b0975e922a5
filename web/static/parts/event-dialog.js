// @ts-check
/** One event in full: overview, request, metadata and the JSON as archived. Its address is a permalink. */

import { useEffect, useRef } from "preact/hooks";
import { member, pretty } from "../data/json-text.js";
import { detail } from "../data/queries.js";
import { closeEvent, link, navigate, view } from "../data/store.js";
import { html } from "../html.js";
import { PANES } from "../state.js";
import { CopyButton } from "./copy.js";
import { Metadata, Overview, Request } from "./event-panes.js";
import { Icon } from "./icon.js";
import { Level } from "./level.js";
import { Failure } from "./panel.js";

/** @type {Record<string, string>} */
const TITLES = { overview: "Overview", request: "Request", metadata: "Metadata", raw: "Raw JSON" };

export function Page() {
  const id = view.value.event;
  return id === null ? null : html`<${OpenDialog} key=${id} id=${id} />`;
}

/** @param {{ id: string }} props */
function OpenDialog({ id }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.current?.showModal();
    return () => before?.focus({ preventScroll: true });
  }, []);
  /** @param {Event} event */
  const onCancel = (event) => {
    event.preventDefault(); // the address decides what is open
    closeEvent();
  };
  /** @param {MouseEvent} event */
  const onClick = (event) => {
    if (event.target === dialog.current) closeEvent(); // a press beside the dialog
  };
  const answer = detail.answer.value;
  const event = answer?.body?.data ?? null;
  const text = answer === null ? null : member(answer.text, ["data"]);
  const problem = detail.problem.value;
  return html`<dialog class="event" ref=${dialog} aria-labelledby="event-title" onCancel=${onCancel} onClick=${onClick}>
    <div class="event-frame">
      <header class="event-head">
        <div>
          ${event !== null && html`<${Level} level=${event.level} />`}
          <h2 id="event-title">${event === null ? "Event" : event.description || "Event without a description"}</h2>
        </div>
        <button type="button" class="icon-button" onClick=${closeEvent} title="Close (Esc)">
          <${Icon} name="close" /><span class="off-screen">Close</span>
        </button>
      </header>
      ${problem !== null && html`<${Failure} problem=${problem} stale=${event !== null} />`}
      ${event === null && problem === null && html`<div class="waiting"><span></span><span></span><span></span></div>`}
      ${event !== null && text !== null && html`<${Panes} event=${event} text=${text} duplicates=${answer?.body?.duplicates ?? 0} />`}
      <footer class="event-foot">
        <${CopyButton} label="Copy link" text=${() => new URL(link({ event: id }), location.href).href} />
        <${CopyButton} label="Copy ID" text=${id} />
      </footer>
    </div>
  </dialog>`;
}

/** @param {{ event: any, text: string, duplicates: number }} props */
function Panes({ event, text, duplicates }) {
  const shown = view.value.pane;
  /** @param {string} pane */
  const show = (pane) => navigate({ pane }, { replace: true });
  /** @param {KeyboardEvent} press */
  const onKeyDown = (press) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[press.key];
    if (step === undefined) return;
    press.preventDefault();
    const next = PANES[(PANES.indexOf(shown) + step + PANES.length) % PANES.length] ?? "overview";
    show(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return html`
    <div class="tabs" role="tablist" aria-label="Parts of the event" onKeyDown=${onKeyDown}>
      ${PANES.map(
        (pane) => html`<button
          type="button"
          role="tab"
          key=${pane}
          id="tab-${pane}"
          aria-selected=${pane === shown ? "true" : "false"}
          aria-controls="event-pane"
          tabindex=${pane === shown ? 0 : -1}
          onClick=${() => show(pane)}
        >
          ${TITLES[pane]}
        </button>`,
      )}
    </div>
    <div class="event-body" role="tabpanel" id="event-pane" aria-labelledby="tab-${shown}" tabindex="0">
      ${shown === "overview" && html`<${Overview} event=${event} duplicates=${duplicates} />`}
      ${shown === "request" && html`<${Request} event=${event} text=${text} />`}
      ${shown === "metadata" && html`<${Metadata} event=${event} text=${text} />`}
      ${shown === "raw" && html`<${Raw} text=${text} />`}
    </div>
  `;
}

/** @param {{ text: string }} props */
function Raw({ text }) {
  const shown = pretty(text);
  return html`<div class="json">
    <div class="json-tools"><${CopyButton} label="Copy JSON" text=${shown} /></div>
    <pre tabindex="0">${shown}</pre>
  </div>`;
}
