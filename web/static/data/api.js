// @ts-check
/** One way to ask the API: abortable, conditional, and with every failure in one shape. */

const PREFIX = "api/v1";
const NOT_MODIFIED = 304;
const UNAUTHORIZED = 401;

/**
 * @typedef {object} Answer
 * @property {any} body      the parsed JSON
 * @property {string} text   the body as sent, for what must not pass through JavaScript's numbers
 * @property {string | null} etag
 * @property {number | null} total  `X-Total-Count`, where sent
 */

/** A failure as RFC 9457 describes it, or as near as the server or the network came to it. */
export class Problem extends Error {
  /**
   * @param {number} status  0 when no answer came
   * @param {string} title
   * @param {string} detail
   * @param {string} hint
   * @param {string} requestId
   * @param {{ position?: number, suggestions?: string[] }} place  in a search
   */
  constructor(status, title, detail = "", hint = "", requestId = "", place = {}) {
    super(title);
    this.name = "Problem";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.hint = hint;
    this.requestId = requestId;
    this.position = place.position ?? null;
    this.suggestions = place.suggestions ?? [];
  }
}

/**
 * The address of an API call, relative to the page so that it works below any path.
 * @param {string} path
 * @param {URLSearchParams} [query]
 */
export function address(path, query) {
  const text = query === undefined ? "" : query.toString();
  return text === "" ? `${PREFIX}/${path}` : `${PREFIX}/${path}?${text}`;
}

/**
 * Ask for JSON. Returns null when the server says that what `etag` names has not changed.
 * @param {string} url
 * @param {{ signal: AbortSignal, etag?: string | null, body?: unknown }} options  every request can be aborted; with a
 *   `body` it is a POST of that as JSON
 * @returns {Promise<Answer | null>}
 * @throws {Problem}
 */
export async function ask(url, { signal, etag = null, body }) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (etag !== null) headers["If-None-Match"] = etag;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  let response;
  let text;
  try {
    response = await fetch(url, { headers, signal, cache: "no-store", credentials: "same-origin", ...sent });
    if (response.status === NOT_MODIFIED) return null;
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem(0, "Watchkeep does not answer", "", "Is the daemon running? The page tries again by itself.");
  }
  if (response.status === UNAUTHORIZED) location.reload(); // the session is over: the server asks for a key, and goes on here
  if (!response.ok) throw problemOf(response, text);
  const total = response.headers.get("X-Total-Count");
  try {
    const answer = JSON.parse(text);
    return { body: answer, text, etag: response.headers.get("ETag"), total: total === null ? null : Number(total) };
  } catch {
    throw new Problem(response.status, "The answer is not JSON", `from ${url}`);
  }
}

/**
 * Ask for a change, and return the answer's body.
 * @param {string} path
 * @param {unknown} [body]
 * @param {URLSearchParams} [query]
 * @returns {Promise<any>}
 * @throws {Problem}
 */
export async function send(path, body = {}, query = undefined) {
  const leaving = new AbortController();
  const answer = await ask(address(path, query), { signal: leaving.signal, body });
  return answer?.body;
}

/**
 * @param {Response} response
 * @param {string} text
 */
function problemOf(response, text) {
  /** @type {any} */
  let body = {};
  try {
    body = JSON.parse(text) ?? {};
  } catch {
    // A proxy's page in place of a problem: its status is all there is to say.
  }
  const first = Array.isArray(body.errors) ? body.errors[0] : undefined;
  const where = first === undefined ? "" : [first.loc].flat().filter(Boolean).join(" ");
  const said = first === undefined ? "" : [where, first.msg].filter(Boolean).join(": ");
  return new Problem(
    response.status,
    String(body.title ?? `The server answered ${response.status}`),
    String(body.detail ?? said),
    String(first?.hint ?? body.hint ?? ""),
    String(body.request_id ?? ""),
    first ?? {},
  );
}
