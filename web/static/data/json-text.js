// @ts-check
/**
 * JSON as text. `JSON.parse` rounds numbers beyond 2^53 and drops repeated keys; what an event's raw view shows and
 * copies must be what was archived, so these work on the characters. Pure.
 */

const STRING = /"(?:[^"\\]|\\.)*"/y;
const SPACE = /[ \t\r\n]*/y;
const SCALAR = /[^\s,\]}]+/y;

/**
 * Where the value that begins at `from` ends (exclusive).
 * @param {string} text
 * @param {number} from
 * @returns {number}
 */
function endOfValue(text, from) {
  let depth = 0;
  let at = from;
  while (at < text.length) {
    const character = text[at];
    if (character === '"') at = match(STRING, text, at);
    else if (character === "{" || character === "[") {
      depth += 1;
      at += 1;
    } else if (character === "}" || character === "]") {
      depth -= 1;
      at += 1;
    } else if (depth === 0) at = match(SCALAR, text, at);
    else at += 1;
    if (depth === 0) return at;
  }
  return at;
}

/**
 * The text of one member of an object, found by its path; null when it is not there.
 * @param {string} text
 * @param {readonly string[]} path
 * @returns {string | null}
 */
export function member(text, path) {
  let found = text.trim();
  for (const name of path) {
    const value = ownMember(found, name);
    if (value === null) return null;
    found = value;
  }
  return found;
}

/**
 * @param {string} text
 * @param {string} name
 * @returns {string | null}
 */
function ownMember(text, name) {
  if (!text.startsWith("{")) return null;
  let at = match(SPACE, text, 1);
  while (at < text.length && text[at] === '"') {
    const keyEnd = match(STRING, text, at);
    const key = JSON.parse(text.slice(at, keyEnd));
    at = match(SPACE, text, keyEnd);
    at = match(SPACE, text, at + 1); // past the colon
    const end = endOfValue(text, at);
    if (key === name) return text.slice(at, end);
    at = match(SPACE, text, end);
    if (text[at] !== ",") return null;
    at = match(SPACE, text, at + 1);
  }
  return null;
}

/**
 * The same JSON, one member a line, indented by two spaces; every scalar keeps its characters.
 * @param {string} text
 * @returns {string}
 */
export function pretty(text) {
  let made = "";
  let depth = 0;
  let at = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  while (at < text.length) {
    const character = text[at] ?? "";
    if (character === '"') {
      const end = match(STRING, text, at);
      made += text.slice(at, end);
      at = end;
    } else if (character === "{" || character === "[") {
      const inner = match(SPACE, text, at + 1);
      const closing = text[inner];
      if (closing === "}" || closing === "]") {
        made += character + closing;
        at = inner + 1;
      } else {
        depth += 1;
        made += character + line();
        at += 1;
      }
    } else if (character === "}" || character === "]") {
      depth -= 1;
      made += line() + character;
      at += 1;
    } else if (character === ",") {
      made += character + line();
      at += 1;
    } else if (character === ":") {
      made += ": ";
      at += 1;
    } else {
      if (!/\s/.test(character)) made += character;
      at += 1;
    }
  }
  return made;
}

/**
 * The end of what a sticky expression matches at a place; the next character when it does not.
 * @param {RegExp} expression
 * @param {string} text
 * @param {number} at
 */
function match(expression, text, at) {
  expression.lastIndex = at;
  return expression.test(text) ? expression.lastIndex : at + 1;
}
