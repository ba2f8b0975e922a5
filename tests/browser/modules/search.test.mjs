// Texts of searches as the page handles them. Run by `node --test`, which `tests/browser/test_static_files.py` starts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pointAt, unitAt } from "../../../web/static/data/points.js";
import { quoted } from "../../../web/static/quoting.js";

test("places are counted in characters where the server counts and in units where the browser does", () => {
  const text = "a😀b:é";
  for (const [unit, point] of [[0, 0], [1, 1], [3, 2], [4, 3], [6, 5]]) {
    assert.equal(pointAt(text, unit), point);
    assert.equal(unitAt(text, point), unit);
  }
});

test("a quoted text reads back as it was", () => {
  for (const text of ["plain", 'say "hi"', "back\\slash", '\\"', ""]) {
    assert.equal(JSON.parse(quoted(text)), text);
  }
});
