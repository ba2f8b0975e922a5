// @ts-check
/** Before the first event: where to write, a line that does it, and a page that waits for it. */

import { status } from "../data/queries.js";
import { html } from "../html.js";
import { CopyButton } from "./copy.js";

const FALLBACK = "the configured log directory";

export function Page() {
  const known = status.body;
  /** @type {string[]} */
  const directories = known?.directories ?? [];
  const command = sampleCommand(directories[0] ?? "logs");
  return html`<section class="first-run" aria-labelledby="first-run-title">
    <h2 id="first-run-title">Waiting for the first event</h2>
    <p>
      Write one JSON object a line to a file in
      ${directories.length === 0 && html` <b>${FALLBACK}</b>`}
      ${directories.map((directory, index) => html`${index > 0 ? " or " : " "}<code key=${directory}>${directory}</code>`)}.
      This writes one:
    </p>
    <div class="json">
      <div class="json-tools"><${CopyButton} label="Copy the command" text=${command} /></div>
      <pre tabindex="0" aria-label="A command that writes an event">${command}</pre>
    </div>
    <p class="quiet">The event appears here by itself. <span class="dots" aria-hidden="true"></span></p>
  </section>`;
}

/**
 * One line of shell that appends one event to today's file.
 * @param {string} directory
 */
export function sampleCommand(directory) {
  const event = '{"timestamp":"\'$(date -u +%FT%TZ)\'","level":"info","category":"system_management","action":"create","user":{"username":"you"},"description":"Hello, Watchkeep"}';
  return `echo '${event}' >> ${quoted(directory)}/hello-$(date -u +%F).jsonl`;
}

/** @param {string} text */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
