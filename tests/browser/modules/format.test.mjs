// Numbers, times, bands and JSON text as people read them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { justBefore, niceTop, snap, stackHeights, timeTicks } from "../../../web/static/charts/scale.js";
import { member, pretty } from "../../../web/static/data/json-text.js";
import { bucketsOf } from "../../../web/static/data/series.js";
import { warningsOf } from "../../../web/static/data/warnings.js";
import * as format from "../../../web/static/format.js";
import { bandOf, headline, label } from "../../../web/static/vocabulary.js";

test("risk bands are 0 to 30, 31 to 70, 71 to 100", () => {
  const found = [0, 30, 31, 70, 71, 100].map(bandOf);
  assert.deepEqual(found, ["low", "low", "medium", "medium", "high", "high"]);
  assert.equal(bandOf(null), null);
  assert.equal(bandOf(undefined), null);
});

test("a machine's word becomes a label, also one that every object has", () => {
  assert.equal(label("user_management"), "User management");
  assert.equal(label("api"), "API");
  assert.equal(label("constructor"), "Constructor");
  assert.equal(label(null), "none");
});

test("an event that says nothing of itself is called by what was done, or by neither", () => {
  assert.equal(headline({ description: "Disk full", action: "read" }), "Disk full");
  assert.equal(headline({ description: "x".repeat(5000), action: "read" }), `${"x".repeat(300)}…`);
  assert.equal(headline({ description: "", action: "permission_change" }), "Permission change");
  assert.equal(headline({ description: null, action: null }), "no description");
});

test("counts, shares and sizes", () => {
  assert.equal(format.count(1234567), "1,234,567");
  assert.equal(format.count(1234567, true), "1.2M");
  assert.equal(format.count(null), "–");
  assert.equal(format.share(1, 3), "33 %");
  assert.equal(format.share(1, 100_000), "< 0.1 %");
  assert.equal(format.share(0, 0), "0 %");
  assert.equal(format.bytes(1536), "1.5 KiB");
  assert.equal(format.bytes(512), "512 B");
});

test("a change says its direction and how much", () => {
  assert.deepEqual(format.change(150, 100), { direction: "up", text: "50 %" });
  assert.deepEqual(format.change(99, 100), { direction: "down", text: "1.0 %" });
  assert.deepEqual(format.change(5, 0), { direction: "up", text: "" });
  assert.deepEqual(format.change(5, 5), { direction: "same", text: "unchanged" });
  assert.equal(format.change(5, undefined), null);
});

test("times are written in the zone shown, with the milliseconds", () => {
  assert.equal(format.instant("2026-03-29T00:30:05.123456Z", "utc"), "2026-03-29 00:30:05.123");
  assert.equal(format.instant(null, "utc"), "–");
  assert.equal(format.fromInput("2026-03-29T10:00", "utc"), "2026-03-29T10:00:00.000Z");
  assert.equal(format.inputValue(Date.parse("2026-03-29T10:00:00Z"), "utc"), "2026-03-29T10:00");
  assert.equal(format.fromInput("", "utc"), "");
});

test("spans use their greatest units", () => {
  assert.equal(format.span(45_000), "45 s");
  assert.equal(format.span(15 * 60_000), "15 min");
  assert.equal(format.span(26 * 3_600_000), "26 h");
  assert.equal(format.span(10 * 86_400_000), "10 d");
});

test("JSON text keeps what JavaScript's numbers would lose", () => {
  const text = '{"success":true,"data":{"a":12345678901234567890,"b":{"x":[],"y":{}},"s":"a\\"}{,:","n":1.0}}';
  const data = member(text, ["data"]);
  assert.equal(data, '{"a":12345678901234567890,"b":{"x":[],"y":{}},"s":"a\\"}{,:","n":1.0}');
  assert.equal(member(text, ["data", "b", "x"]), "[]");
  assert.equal(member(text, ["data", "n"]), "1.0");
  assert.equal(member(text, ["data", "missing"]), null);
  assert.equal(member(text, ["success"]), "true");
  const shown = pretty(data);
  assert.match(shown, /"a": 12345678901234567890,\n/);
  assert.match(shown, /"x": \[\],/);
  assert.match(shown, /"s": "a\\"\}\{,:",/);
});

test("pretty text is the same JSON, whatever it holds", () => {
  const values = [{}, [], [[], [1, [2]]], { a: { b: [{ c: null }] } }, "x", { "": "", "\u2028": "\\\\\"" }, [true, false, -1.5e-7]];
  for (const value of values) {
    assert.deepEqual(JSON.parse(pretty(JSON.stringify(value))), value);
    assert.deepEqual(pretty(JSON.stringify(value)), JSON.stringify(value, null, 2));
    assert.deepEqual(pretty(JSON.stringify(value, null, 3)), JSON.stringify(value, null, 2));
  }
});

test("the top of an axis is round and holds the greatest value", () => {
  for (const value of [0, 1, 5, 9, 43, 99, 100, 101, 12_345]) {
    assert.ok(niceTop(value) >= value);
    assert.equal(niceTop(value) % 2, 0, `${value}: its half is a whole number`);
  }
});

test("a stack never leaves its frame, and what is there is seen", () => {
  const heights = stackHeights([1, 100_000, 0, 1, 1], 100_003, 136);
  assert.ok(heights.reduce((sum, pixels) => sum + pixels, 0) <= 136.001);
  assert.deepEqual(heights.map((pixels) => pixels > 0), [true, true, false, true, true]);
  assert.ok(heights.every((pixels) => pixels === 0 || pixels >= 1));
});

test("a brush takes whole buckets, in either direction", () => {
  const buckets = [0, 10, 20, 30].map((start) => ({ start, end: start + 10, total: 0, byLevel: {} }));
  assert.deepEqual(snap(buckets, 12, 25), { start: 10, end: 30 });
  assert.deepEqual(snap(buckets, 25, 12), { start: 10, end: 30 });
  assert.deepEqual(snap(buckets, 15, 15), { start: 10, end: 20 });
  assert.equal(snap([], 1, 2), null);
  assert.equal(justBefore(Date.parse("2026-11-23T10:00:00Z")), "2026-11-23T09:59:59.999999Z");
});

test("ticks fall on round hours of the zone", () => {
  const from = Date.parse("2026-11-23T10:07:00Z");
  assert.deepEqual(timeTicks(Number.NaN, Number.NaN, 8, () => 0).ticks, []);
  const { step, ticks } = timeTicks(from, from + 86_400_000, 8, () => 3_600_000);
  assert.equal(step, 10_800_000);
  assert.ok(ticks.every((tick) => (tick + 3_600_000) % step === 0));
  assert.ok(ticks.length <= 9);
});

test("ticks stay on round hours where the clocks change", () => {
  const hour = 3_600_000;
  for (const [change, before, after] of [
    ["2026-10-25T01:00:00Z", 2 * hour, hour],
    ["2026-03-29T01:00:00Z", hour, 2 * hour],
  ]) {
    const turn = Date.parse(String(change));
    const offsetAt = (/** @type {number} */ at) => (at < turn ? Number(before) : Number(after));
    for (const days of [1, 4, 12, 60]) {
      const from = turn - days * 12 * hour;
      const { step, ticks } = timeTicks(from, from + days * 24 * hour, 8, offsetAt);
      const clock = ticks.map((tick) => (tick + offsetAt(tick)) % Math.min(step, 24 * hour));
      assert.deepEqual(new Set(clock), new Set([0]), `${change} ${days}`);
    }
  }
});

test("an axis of many years is written in years", () => {
  for (const [from, to, most, first, count] of [
    ["2016-12-31T00:00:00Z", "2026-12-02T00:00:00Z", 5, "2018", 5],
    ["1990-06-01T00:00:00Z", "2026-12-02T00:00:00Z", 18, "1992", 12],
  ]) {
    const { step, ticks } = timeTicks(Date.parse(String(from)), Date.parse(String(to)), Number(most), () => 0);
    assert.equal(ticks.length, count);
    assert.ok(ticks.length <= Number(most));
    assert.equal(format.tick(ticks[0], "utc", step), first);
    assert.equal(new Set(ticks.map((at) => format.tick(at, "utc", step))).size, ticks.length);
  }
});

test("the numbers of an axis fit beside it", () => {
  const tops = [4, 9_999, 10_000, 20_000, 100_000, 250_000, 4_000_000, 8_000_000_000].map(niceTop);
  const written = tops.flatMap((top) => [top, top / 2]).map(format.brief);
  assert.deepEqual(written.filter((text) => text.length > 5), []);
  assert.equal(format.brief(20_000), "20K");
  assert.equal(format.brief(5_000), "5,000");
});

test("a gap says how much was lost, where the last time and why; lag is the sum of all sources", () => {
  const status = {
    sources: [{ state: "idle", lag_bytes: 1 }],
    lag_bytes: 1e9,
    gaps: 2,
    gap_bytes: 5e6,
    last_gap: { path: "/logs/a.log", reason: "truncated" },
    degraded: [{ code: "pinned", detail: "deleted files hold 5 bytes" }, { code: "gap", detail: "told above" }],
  };
  const told = warningsOf(status);
  assert.equal(told.length, 3);
  assert.match(told[0], /not read yet/);
  assert.match(told[1], /^2 gaps, .*MiB: .*\/logs\/a\.log \(truncated\)\.$/);
  assert.match(told[2], /^Deleted files hold/);
});

test("warnings name what is wrong, and nothing when all is well", () => {
  assert.deepEqual(warningsOf({ sources: [], gaps: 0 }), []);
  const told = warningsOf({ ready: false, reason: "the disk is full", sources: [{ state: "failed", path: "a.log", note: "permission denied", lag_bytes: 1e9 }], gaps: 2 });
  assert.equal(told.length, 4);
  assert.match(told[0], /the disk is full/);
});

test("a series becomes buckets whose ends meet", () => {
  const made = bucketsOf({
    seriesSeconds: 1800,
    series: [
      { start: "2026-11-23T00:00:00Z", total: 3, byLevel: { info: 2, error: 1 } },
      { start: "2026-11-23T00:30:00Z", total: 0, byLevel: {} },
    ],
  });
  assert.deepEqual(made.map(({ total }) => total), [3, 0]);
  assert.equal(made[0].end, made[1].start);
  assert.equal(made[1].end, Date.parse("2026-11-23T01:00:00Z"));
  assert.deepEqual(bucketsOf({}), []);
});
