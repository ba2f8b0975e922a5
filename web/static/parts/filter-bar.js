// @ts-check
/** What narrows the view: words, level, category, action, risk, user, time, and what is set at present. */

import { useState } from "preact/hooks";
import { actions, categories, statistics } from "../data/queries.js";
import { navigate, view } from "../data/store.js";
import { activeFilters, replaced, toggled, valuesOf } from "../filters.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { BANDS, LEVELS, label } from "../vocabulary.js";
import { ExportMenu } from "./export-menu.js";
import { FacesMenu } from "./faces-menu.js";
import { Icon } from "./icon.js";
import { LevelMark } from "./level.js";
import { Choices, Menu } from "./menu.js";
import { QueryBox } from "./query-box.js";
import { RangeMenu } from "./range-menu.js";

export function FilterBar() {
  return html`<${QueryBox} />
    <div class="filters" role="group" aria-label="Filters">
    <${ChoiceMenu} name="level" text="Level" options=${levelOptions()} />
    <${ChoiceMenu} name="category" text="Category" options=${wordOptions(categories.body, "byCategory", "category")} />
    <${ChoiceMenu} name="action" text="Action" options=${wordOptions(actions.body, "byAction", "action")} />
    <${ChoiceMenu} name="risk" text="Risk" options=${riskOptions()} />
    <${UserField} />
    <${RangeMenu} />
    <${ExportMenu} />
    <${FacesMenu} />
  </div>`;
}

function levelOptions() {
  const counts = statistics.body?.byLevel ?? {};
  return LEVELS.map((level) => ({
    value: level,
    text: html`<${LevelMark} level=${level} /> ${label(level)}`,
    count: counts[level] === undefined ? undefined : count(counts[level]),
  }));
}

/**
 * Words the server knows, has seen, or that the address asks for.
 * @param {any} known
 * @param {string} counted
 * @param {string} name
 */
function wordOptions(known, counted, name) {
  const counts = new Map(Object.entries(statistics.body?.[counted] ?? {})); // a word may be called `constructor`
  const asked = valuesOf(view.value, name).filter((value) => !value.startsWith("!"));
  const words = [...new Set([...(known?.data ?? []), ...counts.keys(), ...asked])];
  return words.map((value) => ({
    value,
    text: label(value),
    count: counts.has(value) ? count(Number(counts.get(value))) : undefined,
  }));
}

function riskOptions() {
  return BANDS.map((band) => ({
    value: band.name,
    text: html`<span class="risk risk-${band.name}">${label(band.name)}</span> <span class="quiet">${band.low}–${band.high}</span>`,
  }));
}

/** @param {{ name: string, text: string, options: any[] }} props */
function ChoiceMenu({ name, text, options }) {
  const chosen = valuesOf(view.value, name);
  const shown = chosen.length === 0 ? text : html`${text} <span class="badge">${chosen.length}</span>`;
  return html`<${Menu} name=${name} label=${shown} active=${chosen.length > 0}>
    ${() => html`<${Choices}
      options=${options}
      chosen=${chosen}
      legend=${text}
      onToggle=${(/** @type {string} */ value) => navigate({ filters: toggled(view.peek(), name, value) })}
    />`}
  <//>`;
}

const ALL_DIGITS = /^\d+$/;

function UserField() {
  const [draft, setDraft] = useState("");
  /** @type {{ username: string }[]} */
  const users = statistics.body?.topUsers ?? [];
  /** @param {Event} event */
  const onSubmit = (event) => {
    event.preventDefault();
    const text = draft.trim();
    if (text === "") return;
    const byId = text.startsWith("id:") || ALL_DIGITS.test(text);
    const name = byId ? "user_id" : "username";
    navigate({ filters: replaced(view.peek(), name, [text.startsWith("id:") ? text.slice(3).trim() : text]) });
    setDraft("");
  };
  return html`<form class="user-field" onSubmit=${onSubmit}>
    <input
      type="text"
      aria-label="User: a name, or a number for an id"
      placeholder="User, ID"
      title="A name; a number, or id:… for any other id. Enter sets the filter."
      list="known-users"
      autocomplete="off"
      spellcheck=${false}
      value=${draft}
      onInput=${(/** @type {any} */ event) => setDraft(event.currentTarget.value)}
    />
    <datalist id="known-users">
      ${users.map((user) => user.username && html`<option key=${user.username} value=${user.username} />`)}
    </datalist>
  </form>`;
}

/** What is set now, each with a button that takes it away. */
export function Chips() {
  const active = activeFilters(view.value).filter(({ filter }) => filter.name !== "q"); // that stands in the box
  if (active.length === 0) return null;
  return html`<div class="chips">
    <ul aria-label="Filters that are set">
      ${active.map(
        ({ filter, value, excluded, text }) => html`<li class=${excluded ? "chip is-not" : "chip"} key=${`${filter.name} ${value}`}>
          <span>${filter.label}${excluded ? " is not " : ": "}<b>${shownValue(filter.name, text)}</b></span>
          <button type="button" class="icon-button" onClick=${() => navigate({ filters: toggled(view.peek(), filter.name, value) })}>
            <${Icon} name="close" /><span class="off-screen">Remove ${filter.label} ${text}</span>
          </button>
        </li>`,
      )}
    </ul>
    <button type="button" class="link-button" onClick=${() => navigate({ filters: {} })}>Clear all</button>
  </div>`;
}

const WORDS = new Set(["level", "category", "action", "outcome", "risk"]);

/**
 * @param {string} name
 * @param {string} text
 */
const shownValue = (name, text) => (WORDS.has(name) ? label(text) : text);
