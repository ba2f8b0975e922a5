// @ts-check
/** What is asked at present, in every form it can be written in: a link, a search, SQL, a command. */

import { useEffect } from "preact/hooks";
import { Resource } from "../data/resource.js";
import { address } from "../data/api.js";
import { filter } from "../data/queries.js";
import { asFilters, asSearch } from "../data/search.js";
import { view } from "../data/store.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { isFiltered } from "../state.js";
import { CopyButton } from "./copy.js";
import { Failure } from "./panel.js";

const explained = new Resource();

/** A command that asks the API the same. @param {string} path */
const curl = (path) => `curl -s '${new URL(path, location.href).href.replaceAll("'", "%27")}'`;

/** @param {{ close: () => void }} props */
export function Page({ close }) {
  const query = filter.value;
  const url = address("events/explain", query);
  useEffect(() => {
    void explained.load(url);
  }, [url]);
  const found = explained.url.value === url ? explained.body : null;
  const problem = explained.problem.value;
  const events = address("events", query);
  const faces = [
    { name: "Link to this view", text: location.href },
    { name: "Search", text: found?.q ?? "" },
    { name: "Address of the API", text: new URL(events, location.href).href },
    { name: "curl", text: curl(events) },
    { name: "SQL of DuckDB", text: found?.sql ?? "" },
  ];
  /** @param {() => Promise<boolean>} work */
  const change = async (work) => {
    if (await work()) close();
  };
  return html`<div class="faces">
    ${problem !== null && html`<${Failure} problem=${problem} />`}
    <dl>
      ${faces.map(
        ({ name, text }) => html`<div key=${name}>
          <dt>${name}</dt>
          <dd>
            <code title=${text}>${text === "" ? html`<span class="quiet">everything</span>` : text}</code>
            <${CopyButton} small label=${`Copy: ${name}`} text=${text} />
          </dd>
        </div>`,
      )}
    </dl>
    ${found !== null &&
    html`<p class="menu-note">
      Counting would ${found.plan.answeredBy === "scan" ? html`scan ${count(found.scan.files)} of ${count(found.archive.files)} files, ${count(found.scan.rows, true)} rows` : "be answered from roll-ups"}.
    </p>`}
    ${isFiltered(view.value) &&
    html`<p class="menu-foot faces-foot">
      <button type="button" class="button" onClick=${() => void change(asSearch)}>Write the filters as a search</button>
      <button type="button" class="button" onClick=${() => void change(asFilters)}>Split the search into filters</button>
    </p>`}
  </div>`;
}
