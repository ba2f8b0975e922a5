// @ts-check
/** A question of a part of a page that nothing else needs the answer of. */

import { useEffect, useState } from "preact/hooks";
import { Problem, ask } from "./api.js";

/**
 * The answer to a question, asked once for each address; the one before is given up. "" asks nothing.
 * @param {string} url
 * @returns {{ answer: any, problem: Problem | null }}
 */
export function useAnswer(url) {
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  useEffect(() => {
    setAnswer(null);
    setProblem(null);
    if (url === "") return undefined;
    const leaving = new AbortController();
    ask(url, { signal: leaving.signal }).then(
      (found) => setAnswer(found?.body ?? null),
      (error) => {
        if (!leaving.signal.aborted) setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
      },
    );
    return () => leaving.abort();
  }, [url]);
  return { answer, problem };
}
