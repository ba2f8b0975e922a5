// @ts-check
/** The members of an application's own fields, one a line, each to narrow the search by. */

import { html } from "../html.js";
import { CopyButton } from "./copy.js";
import { Narrow, searchBy } from "./narrow.js";

const MOST = 60; // members: what has more is read as JSON
const DEEPEST = 8;

/**
 * The scalars of a value with the keys that lead to each; lists are left to the members in them, whose places are no keys.
 * @param {unknown} value
 * @param {readonly string[]} path
 * @returns {{ path: readonly string[], value: string }[]}
 */
export function membersOf(value, path = []) {
  if (value === null || value === undefined || path.length > DEEPEST) return [];
  if (Array.isArray(value)) return value.filter((item) => typeof item !== "object").map((item) => ({ path, value: String(item) }));
  if (typeof value === "object") return Object.entries(value).flatMap(([key, inner]) => membersOf(inner, [...path, key]));
  return [{ path, value: String(value) }];
}

/** @param {{ title: string, field: string, value: unknown }} props */
export function Members({ title, field, value }) {
  const members = membersOf(value).filter(({ path }) => path.length > 0).slice(0, MOST);
  if (members.length === 0) return null;
  return html`<section class="fields">
    <h3>${title}</h3>
    <dl>
      ${members.map(
        (member, place) => html`<div key=${`${place} ${member.path.join(".")}`}>
          <dt>${member.path.join(".")}</dt>
          <dd>
            <span class="value">${member.value}</span>
            <span class="value-tools">
              ${exact(member.value) && html`<${Narrow} text=${`${member.path.join(".")} ${member.value}`} onNarrow=${(/** @type {boolean} */ excluded) => searchBy(field, member.path, member.value, excluded)} />`}
              <${CopyButton} small label=${`Copy ${member.path.join(".")}`} text=${member.value} />
            </span>
          </dd>
        </div>`,
      )}
    </dl>
  </section>`;
}

/** Whether a value is what was archived: JavaScript rounds great numbers. @param {string} value */
const exact = (value) => value !== "" && !(/^-?\d+$/.test(value) && !Number.isSafeInteger(Number(value)));
