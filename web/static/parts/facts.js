// @ts-check
/** Names with their values, one a line; what has no value is left out. */

import { html } from "../html.js";

/**
 * @param {{ rows: readonly (readonly [string, any])[] }} props
 */
export function Facts({ rows }) {
  const there = rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  if (there.length === 0) return null;
  return html`<dl class="facts">
    ${there.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

const TECHNIQUE = /^T\d{4}(\.\d{3})?$/;

/**
 * ATT&CK techniques, each with its page at MITRE. Following it tells that site nothing of where it was found, and the new
 * page cannot reach this one. What is no technique stays text: names come from files of rules.
 * @param {{ techniques: readonly string[] }} props
 */
export function Techniques({ techniques }) {
  if (techniques.length === 0) return null;
  return html`<ul class="tags">
    ${techniques.map((name) => html`<li key=${name}>${TECHNIQUE.test(name)
      ? html`<a class="tag" href=${`https://attack.mitre.org/techniques/${name.replace(".", "/")}/`} target="_blank" rel="noopener noreferrer">ATT&CK ${name}<span class="off-screen"> (opens attack.mitre.org)</span></a>`
      : html`<span class="tag">ATT&CK ${name}</span>`}</li>`)}
  </ul>`;
}

/**
 * Several texts as a list; one as it is.
 * @param {readonly string[]} texts
 */
export function several(texts) {
  if (texts.length === 0) return null;
  return texts.length === 1 ? texts[0] : html`<ul class="several">${texts.map((text) => html`<li key=${text}>${text}</li>`)}</ul>`;
}
