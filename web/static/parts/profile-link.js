// @ts-check
/** Names that lead to what is known of them. */

import { follow, link } from "../data/store.js";
import { html } from "../html.js";

/**
 * How the address names a user's profile: by id, or by name where events have none.
 * @param {string | number | null | undefined} id
 * @param {string | null | undefined} username
 */
export function userProfile(id, username) {
  if (id !== null && id !== undefined && id !== "") return `user/${encodeURIComponent(String(id))}`;
  return username ? `user/${encodeURIComponent(`name:${username}`)}` : null;
}

/**
 * How the address names the profile of a thing; null where type or id is missing.
 * @param {string | null | undefined} type
 * @param {string | number | null | undefined} id
 */
export function entityProfile(type, id) {
  if (!type || id === null || id === undefined || id === "") return null;
  return `entity/${encodeURIComponent(type)}/${encodeURIComponent(String(id))}`;
}

/**
 * A link to a profile.
 * @param {{ profile: string | null, text: any, plain?: boolean }} props  `plain`: looks like the text around it
 */
export function ProfileLink({ profile, text, plain = false }) {
  if (profile === null) return html`<span>${text}</span>`;
  const change = { tab: /** @type {const} */ ("profile"), profile, event: null };
  return html`<a
    class=${plain ? "plain-link" : undefined}
    href=${link(change)}
    title="What is known of it"
    onClick=${(/** @type {MouseEvent} */ click) => follow(click, change)}
    >${text}</a
  >`;
}
