// @ts-check
/** The lines of a day's log files as they were written, newest last. */

import { computed, effect, signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { address, ask } from "../data/api.js";
import { refreshNow } from "../data/refresh.js";
import { Resource } from "../data/resource.js";
import { navigate, tab, view } from "../data/store.js";
import { bytes, cell, count, instant, utcDay } from "../format.js";
import { html } from "../html.js";
import { LOG_LINES, logsQuery } from "../state.js";
import { isLevel } from "../vocabulary.js";
import { CopyButton } from "../parts/copy.js";
import { Level } from "../parts/level.js";
import { Failure, Panel } from "../parts/panel.js";

const NEAR_END = 24; // pixels: still reading the newest line

const retry = () => void refreshNow({ byHand: true });

const logs = new Resource();
const logFiles = new Resource();
/** What is shown of the sources: those that lag most come first. */
const FILES = new URLSearchParams({ limit: "500" });

/** Whether older lines were loaded before those shown, so that these must stay. */
const logsBusy = signal(false);
const logsUrl = computed(() => address("logs", logsQuery(view.value)));

/** Ask for the lines and the sources. */
export async function load() {
  const hold = () => logsBusy.value;
  return (await Promise.all([logs.load(logsUrl.value, { hold }), logFiles.load(address("logs/files", FILES))])).every(Boolean);
}

effect(() => {
  if (tab.value === "logs" && logsUrl.value !== "") void load();
});

export function Page() {
  return html`<div class="logs-page">
    <${LogFilters} />
    <${Lines} key=${logs.url.value} />
    <${Files} />
  </div>`;
}

function LogFilters() {
  const shown = view.value;
  /** @type {any[]} */
  const sources = logFiles.body?.data ?? [];
  const unknown = shown.logSource !== "" && !sources.some((source) => source.source === shown.logSource);
  return html`<form class="filters" aria-label="Which lines" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
    <label>Day (UTC)
      <input
        type="date"
        max=${utcDay(Date.now())}
        value=${shown.logDate || utcDay(Date.now())}
        onChange=${(/** @type {any} */ event) => navigate({ logDate: event.currentTarget.value })}
      />
    </label>
    <label>Source
      <select value=${shown.logSource} onChange=${(/** @type {any} */ event) => navigate({ logSource: event.currentTarget.value })}>
        <option value="" selected=${shown.logSource === ""}>Every application</option>
        ${unknown && html`<option value=${shown.logSource} selected>${shown.logSource}</option>`}
        ${sources.map(
          (source) => html`<option key=${source.source} value=${source.source} selected=${source.source === shown.logSource}>
            ${source.path}${source.internal ? " (Watchkeep's own)" : ""}
          </option>`,
        )}
      </select>
    </label>
    <label>Lines
      <select value=${String(shown.logLines)} onChange=${(/** @type {any} */ event) => navigate({ logLines: Number(event.currentTarget.value) })}>
        ${LOG_LINES.map((lines) => html`<option key=${lines} value=${String(lines)} selected=${lines === shown.logLines}>${lines}</option>`)}
      </select>
    </label>
  </form>`;
}

/** The lines of the answer, and those that were asked for before it. */
function Lines() {
  const answer = logs.body;
  const older = useOlder(answer);
  /** @type {any[]} */
  const lines = [...older.lines, ...(answer?.lines ?? [])];
  const note = answer?.success ? `${count(lines.length)} lines of ${(answer.files ?? [answer.file]).join(", ")}` : undefined;
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useStayAtEnd(box, answer);
  const tools =
    logs.waiting.value !== null &&
    html`<button type="button" class="button is-main newer" onClick=${older.reset}>Newer lines – show</button>`;
  return html`<${Panel} title="Lines" name="lines" resource=${logs} note=${note} tools=${tools} retry=${retry}>
    ${answer?.success === false && html`<p class="nothing"><b>${capital(answer.error)}</b></p>`}
    ${older.problem !== null && html`<${Failure} problem=${older.problem} />`}
    ${older.next !== null && html`<button type="button" class="button" disabled=${older.busy} onClick=${older.load}>Older lines</button>`}
    <div class="lines-box" ref=${box} tabindex="0" role="group" aria-label="Lines, newest last">
      <ol class="lines">
        ${lines.map((line) => html`<${Line} key=${`${line.source} ${line.offset}`} line=${line} />`)}
      </ol>
    </div>
    ${answer?.success && lines.length === 0 && html`<p class="quiet">No complete line yet.</p>`}
  <//>`;
}

/**
 * Lines before the first page, loaded on request.
 * @param {any} answer
 */
function useOlder(answer) {
  const [lines, setLines] = useState(/** @type {any[]} */ ([]));
  const [next, setNext] = useState(/** @type {string | null | undefined} */ (undefined));
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const cursor = next === undefined ? (answer?.next ?? null) : next;
  const load = async () => {
    const query = logsQuery(view.peek());
    query.set("cursor", String(cursor));
    const leaving = new AbortController();
    addEventListener("popstate", () => leaving.abort(), { once: true, signal: leaving.signal });
    setBusy(true);
    try {
      const page = await ask(address("logs", query), { signal: leaving.signal });
      setLines([...(page?.body.lines ?? []), ...lines]);
      logsBusy.value = true; // a newer page would leave a hole between itself and these
      setNext(page?.body.next ?? null);
      setProblem(null);
    } catch (error) {
      if (!leaving.signal.aborted) setProblem(error);
    } finally {
      setBusy(false);
    }
  };
  const reset = () => {
    setLines([]);
    setNext(undefined);
    logsBusy.value = false;
    logs.release();
  };
  useEffect(() => () => void (logsBusy.value = false), []);
  return { lines, next: cursor, load, problem, busy, reset };
}

/**
 * Keep the newest line in sight, unless the reader has scrolled away from it.
 * @param {{ current: HTMLElement | null }} box
 * @param {any} answer
 */
function useStayAtEnd(box, answer) {
  const atEnd = useRef(true);
  useEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const onScroll = () => {
      atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END;
    };
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => element.removeEventListener("scroll", onScroll);
  }, [answer === null]);
  useLayoutEffect(() => {
    if (atEnd.current) box.current?.scrollTo({ top: box.current.scrollHeight });
  }, [answer]);
}

/** @param {{ line: any }} props */
function Line({ line }) {
  const { zone } = view.value;
  const when = line.timestamp ? cell(line.timestamp, zone).time : "";
  return html`<li class="line level-${line.level ?? "none"}">
    <span class="line-time" title=${line.timestamp ? instant(line.timestamp, zone) : undefined}>${when || html`<span class="quiet">no time</span>`}</span>
    <span class="line-level">${isLevel(line.level) ? html`<${Level} level=${line.level} />` : html`<span class="quiet">not parsed</span>`}</span>
    <code class="line-text">${line.raw}${line.cut && html`<span class="quiet"> … cut</span>`}</code>
    <span class="line-tools">
      <span class="off-screen">Byte ${line.offset} of ${line.file}</span>
      <${CopyButton} small label="Copy this line" text=${line.raw} />
    </span>
  </li>`;
}

/** Every source, and how far it is read. */
function Files() {
  /** @type {any[]} */
  const sources = logFiles.body?.data ?? [];
  const { zone } = view.value;
  return html`<${Panel} title="Sources" name="files" resource=${logFiles} note=${filesNote(logFiles.body)} retry=${retry}>
    ${sources.length === 0 && html`<p class="quiet">No file is being read yet.</p>`}
    ${sources.length > 0 &&
    html`<div class="scroll-x" tabindex="0" role="group" aria-label="Sources">
      <table class="files">
        <thead>
          <tr>
            <th scope="col">File</th><th scope="col">State</th><th scope="col" class="number">Size</th>
            <th scope="col" class="number">Not yet read</th><th scope="col" class="number">Lines</th>
            <th scope="col" class="number">Rejected</th><th scope="col" class="number">Lost</th><th scope="col">Newest event</th>
          </tr>
        </thead>
        <tbody>
          ${sources.map(
            (source) => html`<tr key=${source.source}>
              <th scope="row"><span class="mono">${source.path}</span></th>
              <td>${source.state}${source.note && html` <span class="quiet">${source.note}</span>`}</td>
              <td class="number">${bytes(source.size)}</td>
              <td class="number">${bytes(source.lag_bytes)}</td>
              <td class="number">${count(source.lines)}</td>
              <td class=${source.rejects > 0 ? "number is-bad" : "number"}>${count(source.rejects)}</td>
              <td class=${source.gaps > 0 ? "number is-bad" : "number"} title=${source.gap_reason || ""}>${bytes(source.gap_bytes ?? 0)}</td>
              <td class="number-left">${instant(source.last_event, zone)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
  <//>`;
}

/**
 * What the panel says of all sources, when a page cannot hold them.
 * @param {any} answer
 */
const filesNote = (answer) =>
  answer?.next ? `${count(answer.data.length)} of ${count(answer.total)}, what lags most first` : "what Watchkeep reads, and how far";

/** @param {string | null | undefined} text */
const capital = (text) => (text ? `${text.charAt(0).toUpperCase()}${text.slice(1)}.` : "There is nothing to show.");
