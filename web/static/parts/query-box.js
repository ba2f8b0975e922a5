// @ts-check
/** The box for searches: what can stand at the cursor is offered, and what cannot be read is shown where it is. */

import { useEffect, useRef, useState } from "preact/hooks";
import { address, ask } from "../data/api.js";
import { pointAt, unitAt } from "../data/points.js";
import { list } from "../data/queries.js";
import { search, wrong, wrongText } from "../data/search.js";
import { view } from "../data/store.js";
import { valuesOf } from "../filters.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { Icon } from "./icon.js";

const PAUSE_MS = 90; // after a key, before what may follow is asked for
const SHOWN = 12; // suggestions: a list that is read at a glance
const MOVING = new Set(["ArrowLeft", "ArrowRight", "Home", "End"]); // keys that move the cursor alone
/** @type {Record<string, string>} */
const KINDS = { field: "field", key: "member", operator: "comparison", value: "value" };

/**
 * @typedef {{ kind: string, label: string, insert: string, start: number, end: number, detail: string, events: number | null }} Option
 */

/**
 * What may stand at a place of a text, asked for after a pause; a newer question ends the one before.
 * `asked` is the text that they are for.
 * @returns {{ options: Option[], asked: string, ask: (text: string, unit: number) => void, clear: () => void }}
 */
function useOptions() {
  const [{ options, asked }, setOptions] = useState({ options: /** @type {Option[]} */ ([]), asked: "" });
  const timer = useRef(/** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined));
  const running = useRef(/** @type {AbortController | null} */ (null));
  const stop = () => {
    clearTimeout(timer.current);
    running.current?.abort();
  };
  useEffect(() => stop, []);
  /** @param {string} text @param {number} unit */
  const askFor = (text, unit) => {
    stop();
    timer.current = setTimeout(async () => {
      const leaving = new AbortController();
      running.current = leaving;
      const query = new URLSearchParams({ q: text, at: String(pointAt(text, unit)) });
      try {
        const answer = await ask(address("events/suggest", query), { signal: leaving.signal });
        if (!leaving.signal.aborted) setOptions({ options: (answer?.body.data ?? []).slice(0, SHOWN), asked: text });
      } catch {
        if (!leaving.signal.aborted) setOptions({ options: [], asked: text }); // whoever writes goes on without suggestions
      }
    }, PAUSE_MS);
  };
  const clear = () => {
    stop();
    setOptions({ options: [], asked: "" });
  };
  return { options, asked, ask: askFor, clear };
}

export function QueryBox() {
  const applied = valuesOf(view.value, "q")[0] ?? "";
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [draft, setDraft] = useState(applied);
  const [active, setActive] = useState(-1);
  const suggested = useOptions();
  const { options, asked } = suggested;
  const open = options.length > 0;
  useEffect(() => setDraft(applied), [applied]);

  /** @param {string} text @param {number} unit */
  const offer = (text, unit) => {
    setActive(-1);
    suggested.ask(text, unit);
  };
  const close = () => {
    setActive(-1);
    suggested.clear();
  };
  /** Offer nothing for the place before. @param {number} unit */
  const move = (unit) => {
    close();
    suggested.ask(draft, unit);
  };
  /** @param {string} text */
  const apply = (text) => {
    close();
    void search(text);
  };
  /** @param {Option} option */
  const take = (option) => {
    const whole = option.kind === "value";
    const before = draft.slice(0, unitAt(asked, option.start));
    // What was written since belongs to the word.
    const after = draft.slice(unitAt(asked, option.end) + draft.length - asked.length);
    const text = `${before}${option.insert}${whole && !/^[\s)]/.test(after) ? " " : ""}${after}`;
    const unit = before.length + option.insert.length + (whole ? 1 : 0);
    setDraft(text);
    offer(text, unit);
    requestAnimationFrame(() => {
      input.current?.focus();
      input.current?.setSelectionRange(unit, unit);
    });
  };
  /** @param {KeyboardEvent} press */
  const onKeyDown = (press) => {
    const option = options[active];
    if (press.key === "ArrowDown" || press.key === "ArrowUp") {
      press.preventDefault();
      if (!open) offer(draft, input.current?.selectionStart ?? draft.length);
      else setActive((active + (press.key === "ArrowDown" ? 1 : -1) + options.length + (active === -1 && press.key === "ArrowUp" ? 1 : 0)) % options.length);
    } else if ((press.key === "Enter" || press.key === "Tab") && option !== undefined) {
      press.preventDefault();
      take(option);
    } else if (press.key === "Escape" && open) {
      press.preventDefault();
      press.stopPropagation(); // the first Esc closes the list, the next one leaves the field
      close();
    }
  };
  const problem = wrong.value ?? (applied !== "" && list.problem.value?.position !== null ? list.problem.value : null);
  const text = wrong.value === null ? applied : wrongText.value;
  return html`<form
    class="search query-box"
    role="search"
    aria-label="Search events"
    onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      apply(draft);
    }}
  >
    <${Icon} name="search" />
    <input
      type="text"
      id="search"
      ref=${input}
      role="combobox"
      aria-label="Search"
      aria-keyshortcuts="/"
      aria-autocomplete="list"
      aria-expanded=${open ? "true" : "false"}
      aria-controls="search-options"
      aria-activedescendant=${active === -1 ? undefined : `search-option-${active}`}
      aria-invalid=${problem === null ? undefined : "true"}
      aria-describedby=${problem === null ? undefined : "search-wrong"}
      placeholder="Words, or level:error user:ana -path:/health* status:>=500"
      autocomplete="off"
      autocapitalize="off"
      spellcheck=${false}
      value=${draft}
      onInput=${(/** @type {any} */ event) => {
        setDraft(event.currentTarget.value);
        offer(event.currentTarget.value, event.currentTarget.selectionStart ?? 0);
      }}
      onClick=${(/** @type {any} */ event) => move(event.currentTarget.selectionStart ?? 0)}
      onKeyDown=${onKeyDown}
      onKeyUp=${(/** @type {any} */ press) => {
        if (MOVING.has(press.key)) move(press.currentTarget.selectionStart ?? 0);
      }}
      onBlur=${close}
    />
    <kbd aria-hidden="true">/</kbd>
    <${Options} options=${options} active=${active} take=${take} />
    ${problem !== null && !open && html`<${Wrong} problem=${problem} text=${text} apply=${apply} />`}
  </form>`;
}

/** @param {{ options: Option[], active: number, take: (option: Option) => void }} props */
function Options({ options, active, take }) {
  useEffect(() => document.getElementById(`search-option-${active}`)?.scrollIntoView({ block: "nearest" }), [active]);
  return html`<div class="menu-panel options" hidden=${options.length === 0}>
    <ul id="search-options" role="listbox" aria-label="What may stand here">
      ${options.map(
        (option, place) => html`<li
          key=${`${option.kind} ${option.insert}`}
          id=${`search-option-${place}`}
          role="option"
          aria-selected=${place === active ? "true" : "false"}
          class="option"
          onPointerDown=${(/** @type {PointerEvent} */ press) => {
            press.preventDefault(); // the field keeps the focus
            take(option);
          }}
        >
          <span class="option-text"><code>${option.label}</code>${option.detail && html` <span class="quiet">${option.detail}</span>`}</span>
          <span class="quiet number">${option.events === null ? KINDS[option.kind] : count(option.events, true)}</span>
        </li>`,
      )}
    </ul>
    <p class="menu-note" aria-hidden="true"><kbd>↑</kbd> <kbd>↓</kbd> choose <kbd>Enter</kbd> take, or search <kbd>Esc</kbd> close</p>
  </div>`;
}

const SAID = /^q: (?:at character \d+: )?/;

/**
 * What is wrong, where, and what could stand there.
 * @param {{ problem: import("../data/api.js").Problem, text: string, apply: (text: string) => void }} props
 */
function Wrong({ problem, text, apply }) {
  const at = problem.position === null ? null : unitAt(text, problem.position);
  const bad = at === null ? "" : (/^[^\s()]+|^[()]/.exec(text.slice(at))?.[0] ?? "");
  return html`<div class="failure query-wrong" role="alert" id="search-wrong">
    <${Icon} name="warning" />
    <div>
      ${at !== null && html`<p class="query-text"><code>${text.slice(0, at)}<mark>${bad === "" ? "\u2038" : bad}</mark>${text.slice(at + bad.length)}</code></p>`}
      <p><b>${problem.detail.replace(SAID, "") || problem.title}</b>${problem.hint && html` <span>– ${problem.hint}</span>`}</p>
      ${problem.suggestions.length > 0 &&
      html`<p class="query-mended">
        Did you mean
        ${problem.suggestions.map((other) => html` <button type="button" key=${other} class="button" onClick=${() => apply(other)}><code>${other}</code></button>`)}
      </p>`}
    </div>
  </div>`;
}
