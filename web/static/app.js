// @ts-check
/** The page put together. */

import { render } from "preact";
import { useState } from "preact/hooks";
import { firstRun, follow } from "./data/queries.js";
import { keepFresh } from "./data/refresh.js";
import { view } from "./data/store.js";
import { html } from "./html.js";
import { Cards } from "./parts/cards.js";
import { EventDialog } from "./parts/event-dialog.js";
import { EventTable } from "./parts/event-table.js";
import { Chips, FilterBar } from "./parts/filter-bar.js";
import { FirstRun } from "./parts/first-run.js";
import { Header } from "./parts/header.js";
import { HelpDialog, useKeys } from "./parts/keys.js";
import { LogView } from "./parts/log-view.js";
import { ByCategory, ByLevel, RecentCritical, Timeline, TopUsers } from "./parts/overview.js";

function App() {
  const [help, setHelp] = useState(false);
  useKeys(() => setHelp(true));
  const { tab } = view.value;
  return html`
    <${Header} onHelp=${() => setHelp(true)} />
    <main id="main" tabindex="-1">
      ${tab === "events" ? html`<${Events} />` : html`<${LogView} />`}
    </main>
    <${EventDialog} />
    ${help && html`<${HelpDialog} close=${() => setHelp(false)} />`}
  `;
}

function Events() {
  if (firstRun.value) return html`<${FirstRun} />`;
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

follow();
keepFresh();
const root = document.getElementById("app");
if (root !== null) render(html`<${App} />`, root);
