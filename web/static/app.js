// @ts-check
/** The page put together. */

import { render } from "preact";
import { useState } from "preact/hooks";
import { pageOf } from "./data/pages.js";
import { firstRun, follow } from "./data/queries.js";
import { keepFresh } from "./data/refresh.js";
import { view } from "./data/store.js";
import { html } from "./html.js";
import { Cards } from "./parts/cards.js";
import { EventTable } from "./parts/event-table.js";
import { Chips, FilterBar } from "./parts/filter-bar.js";
import { Header } from "./parts/header.js";
import { HelpDialog, useKeys } from "./parts/keys.js";
import { ByCategory, ByLevel, RecentCritical, Timeline, TopUsers } from "./parts/overview.js";

const IDLE_MS = 1200; // after the start

function App() {
  const [help, setHelp] = useState(false);
  useKeys(() => setHelp(true));
  const { tab } = view.value;
  return html`
    <${Header} onHelp=${() => setHelp(true)} />
    <main id="main" tabindex="-1">${tab === "events" ? html`<${Events} />` : html`<${Other} key=${tab} tab=${tab} />`}</main>
    <${Dialog} />
    ${help && html`<${HelpDialog} close=${() => setHelp(false)} />`}
  `;
}

function Events() {
  if (firstRun.value) return html`<${Other} tab="first" />`;
  return html`<div class="events-page">
    <div class="filter-part"><${FilterBar} /><${Chips} /></div>
    <${Cards} />
    <${Timeline} />
    <aside class="rail" aria-label="Summaries">
      <${ByLevel} />
      <${RecentCritical} />
      <${TopUsers} />
      <${ByCategory} />
    </aside>
    <${EventTable} />
  </div>`;
}

/**
 * A page that is loaded when it is first shown.
 * @param {{ tab: string }} props
 */
function Other({ tab }) {
  const page = pageOf(tab);
  if (page === null) return html`<div class="panel waiting"><span></span><span></span><span></span></div>`;
  if (page instanceof Error) {
    return html`<div class="failure" role="alert">
      <div><p><b>This page could not be loaded.</b> Watchkeep may have been replaced by a newer version.</p></div>
      <button type="button" class="button" onClick=${() => location.reload()}>Load it again</button>
    </div>`;
  }
  return html`<${page.Page} />`;
}

/** The event that is open; its part is fetched when the browser has nothing else to do, so that it opens at once. */
function Dialog() {
  const { event } = view.value;
  const found = event === null ? null : pageOf("dialog");
  return found === null || found instanceof Error ? null : html`<${found.Page} />`;
}

follow();
keepFresh();
setTimeout(() => pageOf("dialog"), IDLE_MS);
const root = document.getElementById("app");
if (root !== null) render(html`<${App} />`, root);
