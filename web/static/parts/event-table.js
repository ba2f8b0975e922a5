// @ts-check
/** The events themselves, newest first, a page at a time. Rows never move under a reader who is busy with them. */

import { list, status, tableBusy } from "../data/queries.js";
import { refreshNow } from "../data/refresh.js";
import { link, navigate, view } from "../data/store.js";
import { cell, count, instant, minute } from "../format.js";
import { html } from "../html.js";
import { PAGE_SIZES, isFiltered } from "../state.js";
import { bandOf, label } from "../vocabulary.js";
import { Icon } from "./icon.js";
import { Level, Risk } from "./level.js";
import { CellValue } from "./narrow.js";
import { follow } from "./overview.js";
import { ProfileLink, entityProfile, userProfile } from "./profile-link.js";
import { Panel } from "./panel.js";

export function EventTable() {
  const answer = list.body;
  /** @type {any[]} */
  const events = answer?.data ?? [];
  const total = answer?.total;
  const note = total === undefined ? undefined : `${answer.total_is_estimate ? "about " : ""}${count(total)} ${total === 1 ? "event" : "events"}`;
  return html`<${Panel} title="Events" name="events" resource=${list} note=${note} tools=${html`<${Waiting} />`} retry=${() => void refreshNow()}>
    ${events.length === 0 ? html`<${Nothing} />` : html`<${Table} events=${events} />`}
    ${answer !== null && html`<${Pages} answer=${answer} />`}
  <//>`;
}

/** Newer events that wait until the reader asks for them. */
function Waiting() {
  const newer = list.waiting.value;
  if (newer === null) return null;
  const more = Number(newer.body?.total) - Number(list.body?.total);
  const show = () => {
    list.release();
    tableBusy.value = false;
  };
  return html`<button type="button" class="button is-main newer" onClick=${show}>
    ${more > 0 ? `${count(more)} new` : "Newer events"} – show
  </button>`;
}

/** @param {{ events: any[] }} props */
function Table({ events }) {
  const busy = () => {
    tableBusy.value = true;
  };
  const idle = () => {
    tableBusy.value = false; // what waits is shown with the next refresh, or by its button
  };
  /** @param {FocusEvent} event */
  const onFocusOut = (event) => {
    const table = /** @type {HTMLElement} */ (event.currentTarget);
    if (!table.contains(/** @type {Node | null} */ (event.relatedTarget)) && !table.matches(":hover")) idle();
  };
  /** @param {PointerEvent} event */
  const onPointerLeave = (event) => {
    const table = /** @type {HTMLElement} */ (event.currentTarget);
    if (!table.contains(document.activeElement)) idle();
  };
  return html`<table
    class="events"
    onPointerEnter=${busy}
    onPointerLeave=${onPointerLeave}
    onFocusIn=${busy}
    onFocusOut=${onFocusOut}
  >
    <caption class="off-screen">Events, newest first</caption>
    <thead>
      <tr>
        <th scope="col" class="at-time">Time</th>
        <th scope="col" class="at-level">Level</th>
        <th scope="col" class="at-description">Description</th>
        <th scope="col" class="at-kind">Category, action</th>
        <th scope="col" class="at-user">User, address</th>
        <th scope="col" class="at-risk">Risk</th>
      </tr>
    </thead>
    <tbody>
      ${events.map((event) => html`<${Row} key=${event.seq ?? event.eventId} event=${event} />`)}
    </tbody>
  </table>`;
}

/** @param {{ event: any }} props */
function Row({ event }) {
  const { zone } = view.value;
  const when = cell(event.timestamp, zone);
  /** @param {MouseEvent} click */
  const onClick = (click) => {
    if (String(getSelection()) !== "") return; // the reader marks text
    follow(click, event.eventId);
  };
  const entity = event.entity?.name ?? event.entity?.id;
  const who = event.user?.username ?? event.user?.id ?? "";
  return html`<tr class="row level-${event.level}" onClick=${onClick}>
    <td class="at-time">
      <a href=${link({ event: event.eventId, pane: "overview" })} onClick=${(/** @type {MouseEvent} */ click) => follow(click, event.eventId)}>
        <time datetime=${event.timestamp} title=${`${instant(event.timestamp, zone)} ${zone === "utc" ? "UTC" : ""}`}>
          <span class="clock">${when.time.slice(0, -4)}<span class="milliseconds">${when.time.slice(-4)}</span></span> <span class="second quiet">${when.day}</span>
        </time>
      </a>
    </td>
    <td class="at-level"><${CellValue} name="level" label="level" value=${event.level}><${Level} level=${event.level} /><//></td>
    <td class="at-description">
      <span class="description">${event.description || html`<span class="quiet">no description</span>`}</span>
      ${entity !== null &&
      entity !== undefined &&
      html`<span class="second quiet"
        ><${CellValue} name=${event.entity.id ? "entity_id" : "entity_name"} label="entity" value=${event.entity.id ?? event.entity.name}
          >${event.entity.type ? `${label(event.entity.type)} ` : ""}<${ProfileLink} plain profile=${entityProfile(event.entity.type, event.entity.id)} text=${entity}
        /><//></span
      >`}
      <span class="second small-screen quiet">${[who, event.category && label(event.category), event.action && label(event.action)].filter(Boolean).join(" · ")}</span>
    </td>
    <td class="at-kind">
      <${CellValue} name="category" label="category" value=${event.category}><span>${event.category ? label(event.category) : html`<span class="quiet">–</span>`}</span><//>
      <span class="second quiet"><${CellValue} name="action" label="action" value=${event.action}>${event.action && label(event.action)}<//></span>
    </td>
    <td class="at-user">
      <${CellValue} name=${event.user?.username ? "username" : "user_id"} label="user" value=${who}
        ><span>${who === "" ? html`<span class="quiet">–</span>` : html`<${ProfileLink} plain profile=${userProfile(event.user?.id, event.user?.username)} text=${who} />`}</span><//
      >
      <span class="second quiet"><${CellValue} name="ip" label="address" value=${event.request?.ip}>${event.request?.ip}<//></span>
    </td>
    <td class="at-risk"><${CellValue} name="risk" label="risk" value=${bandOf(event.riskScore)}><${Risk} score=${event.riskScore} /><//></td>
  </tr>`;
}

/** No rows: because nothing is there, or because nothing matches. */
function Nothing() {
  const shown = view.value;
  const known = status.body;
  const held = known?.events;
  const begins = known?.oldest;
  const ends = known?.newest;
  return html`<div class="nothing">
    <p><b>${isFiltered(shown) ? "No event matches these filters in this range." : "No events in this range."}</b></p>
    ${held > 0 &&
    html`<p class="quiet">
      The archive holds ${count(held)} events${begins && ends ? html`, from ${minute(begins, shown.zone)} to ${minute(ends, shown.zone)}` : ""}.
    </p>`}
    <p class="nothing-do">
      ${isFiltered(shown) && html`<button type="button" class="button" onClick=${() => navigate({ filters: {} })}>Clear the filters</button>`}
      ${shown.start !== "all" &&
      html`<button type="button" class="button" onClick=${() => navigate({ start: "all", end: "" })}>Search everything</button>`}
    </p>
  </div>`;
}

/** @param {{ answer: any }} props */
function Pages({ answer }) {
  const shown = view.value;
  const { page, limit } = shown;
  const pages = answer.pages ?? null;
  const more = pages === null ? answer.next !== null && answer.next !== undefined : page < pages;
  const pin = shown.snapshot ?? answer.snapshot ?? null;
  /** @param {number} to */
  const change = (to) => ({ page: to, snapshot: to === 1 ? null : pin });
  /** @param {MouseEvent} click @param {number} to */
  const go = (click, to) => {
    if (click.metaKey || click.ctrlKey || click.shiftKey) return;
    click.preventDefault();
    navigate(change(to));
    document.getElementById("events-title")?.scrollIntoView({ block: "start" });
  };
  /** @param {number} to @param {any} text @param {string} name @param {boolean} possible */
  const step = (to, text, name, possible) =>
    possible
      ? html`<a class="button" rel=${name} href=${link(change(to))} onClick=${(/** @type {MouseEvent} */ click) => go(click, to)}>${text}</a>`
      : html`<span class="button is-off" aria-hidden="true">${text}</span>`;
  return html`<nav class="pages" aria-label="Pages of events">
    ${step(page - 1, html`<${Icon} name="left" /> Newer`, "prev", page > 1)}
    <span class="number">Page ${count(page)}${pages === null ? "" : ` of ${count(Math.max(1, pages))}`}</span>
    ${step(page + 1, html`Older <${Icon} name="right" />`, "next", more)}
    <label class="rows">Rows
      <select value=${String(limit)} onChange=${(/** @type {any} */ event) => navigate({ limit: Number(event.currentTarget.value) })}>
        ${PAGE_SIZES.map((size) => html`<option key=${size} value=${String(size)} selected=${size === limit}>${size}</option>`)}
      </select>
    </label>
    ${page > 1 && html`<p class="quiet">These pages stand still. <a href=${link(change(1))} onClick=${(/** @type {MouseEvent} */ c) => go(c, 1)}>To the newest</a></p>`}
  </nav>`;
}
