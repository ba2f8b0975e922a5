// @ts-check
/** Places in a text: the server counts characters, JavaScript counts UTF-16 units. Pure. */

/**
 * The number of characters before a unit.
 * @param {string} text
 * @param {number} unit
 */
export const pointAt = (text, unit) => [...text.slice(0, unit)].length;

/**
 * The unit at which a character begins.
 * @param {string} text
 * @param {number} point
 */
export const unitAt = (text, point) => [...text].slice(0, point).join("").length;
