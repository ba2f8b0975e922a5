// @ts-check
/** Text in quotes, as the search grammar and matchers of silences both read it. Pure. */

/** @param {string} text */
export const quoted = (text) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
