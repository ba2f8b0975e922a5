// @ts-check
/** The view of this window: read from the address, written back to it, followed by everything else. */

import { computed, signal } from "@preact/signals";
import { changed, parse, serialise } from "../state.js";

/** What the page shows now. */
export const view = signal(parse(location.search));

/** Which page is on screen. */
export const tab = computed(() => view.value.tab);

/** The zone times are shown in. */
export const zone = computed(() => view.value.zone);

/**
 * Go to a changed view. A new entry in the history unless `replace`, so that Back undoes one decision.
 * @param {Partial<import("../state.js").View>} change
 * @param {{ replace?: boolean }} [options]
 */
export function navigate(change, { replace = false } = {}) {
  const next = changed(view.peek(), change);
  const search = serialise(next);
  if (search === serialise(view.peek())) return;
  const url = `${location.pathname}${search}`;
  if (replace) history.replaceState(history.state, "", url);
  else history.pushState({ inside: true, dialog: next.event !== null && view.peek().event === null }, "", url);
  view.value = next;
}

/**
 * What a link does when it is pressed: plainly it goes to a changed view in place, with a modifier it works as links do.
 * @param {MouseEvent} click
 * @param {Partial<import("../state.js").View>} change
 */
export function follow(click, change) {
  if (click.metaKey || click.ctrlKey || click.shiftKey || click.altKey || click.button !== 0) return;
  click.preventDefault();
  click.stopPropagation();
  navigate(change);
}

/** Open one event's dialog. @param {string} id */
export function openEvent(id) {
  navigate({ event: id, pane: "overview" });
}

/** Close the dialog: back to where it was opened, or, when the page began with it, to the view without it. */
export function closeEvent() {
  if (view.peek().event === null) return;
  if (history.state?.dialog === true) history.back();
  else navigate({ event: null, pane: "overview" }, { replace: true });
}

/**
 * The address of a changed view, for links that also work in a new tab.
 * @param {Partial<import("../state.js").View>} change
 */
export function link(change) {
  return `${location.pathname}${serialise(changed(view.value, change))}`;
}

addEventListener("popstate", () => {
  view.value = parse(location.search);
});
