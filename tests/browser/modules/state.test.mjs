// The view and its address. Run by `node --test`, which `tests/browser/test_static_files.py` starts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { activeFilters, only, replaced, toggled } from "../../../web/static/filters.js";
import {
  DEFAULT_VIEW,
  changed,
  exportQuery,
  filterQuery,
  instant,
  listQuery,
  parse,
  serialise,
  statisticsQuery,
} from "../../../web/static/state.js";

test("the plain page is the default view", () => {
  assert.deepEqual(parse(""), DEFAULT_VIEW);
  assert.equal(serialise(DEFAULT_VIEW), "");
});

test("every view state survives its address", () => {
  const view = {
    tab: "logs",
    start: "2026-11-01T10:00:00.000Z",
    end: "2026-11-02T10:00:59.999Z",
    filters: {
      search_query: ["ad & min=1 #é"],
      level: ["error", "!debug"],
      category: ["an app's own"],
      username: ["<img src=x onerror=1>"],
      ip: ["10.0.0.0/8"],
      internal: ["only"],
    },
    limit: 100,
    page: 3,
    snapshot: 9007199254740991,
    refresh: 0,
    zone: "utc",
    event: "a/b?c",
    pane: "raw",
    logDate: "2026-11-01",
    logLines: 1000,
    logSource: "app-2026-11-01.jsonl",
    alert: "a1f0",
    alertState: "resolved",
    severities: ["high", "critical"],
    alertRule: "5f3f0d2e",
    alertWords: "eve & co",
    rule: "new",
    ruleState: "not",
    ruleWords: "T1110",
    tested: 30,
    silence: ['level="low"', 'user.id=~"svc-.*"'],
    profile: "entity/order/a%2Fb",
    days: 7,
  };
  assert.deepEqual(parse(serialise(view)), view);
  assert.equal(serialise(parse(serialise(view))), serialise(view));
});

test("each single change survives its address", () => {
  const changes = [
    { tab: "logs" },
    { tab: "alerts", alert: "a1", alertState: "all" },
    { tab: "rules", rule: "r1", tested: 7 },
    { tab: "channels", silence: ["rule=x"] },
    { tab: "profile", profile: "user/name%3Aana", days: 365 },
    { start: "-7d" },
    { start: "all" },
    { end: "2026-11-02" },
    { filters: { risk: ["high"] } },
    { limit: 25 },
    { page: 2, snapshot: 0 },
    { refresh: 5 },
    { zone: "utc" },
    { event: "e-1" },
    { event: "e-1", pane: "metadata" },
    { logDate: "2026-01-02" },
    { logLines: 100 },
    { logSource: "x" },
  ];
  for (const change of changes) {
    const view = changed(DEFAULT_VIEW, change);
    assert.deepEqual(parse(serialise(view)), view, JSON.stringify(change));
    assert.notEqual(serialise(view), "", JSON.stringify(change));
  }
});

test("what is unknown or malformed becomes the default", () => {
  const view = parse("?tab=x&limit=7&page=-1&refresh=1&zone=mars&start_date=yesterday&date=1.1.2026&pane=x&foo=bar&level=");
  assert.deepEqual(view, DEFAULT_VIEW);
});

test("a filter that cannot repeat keeps its first value", () => {
  assert.deepEqual(parse("?search_query=a&search_query=b").filters, { search_query: ["a"] });
});

test("a change of the question goes back to the first page of the newest rows", () => {
  const deep = changed(DEFAULT_VIEW, { page: 4, snapshot: 77 });
  assert.equal(changed(deep, { filters: { level: ["error"] } }).page, 1);
  assert.equal(changed(deep, { start: "-1h" }).snapshot, null);
  assert.equal(changed(deep, { zone: "utc" }).page, 4);
  assert.equal(changed(deep, { event: "e" }).snapshot, 77);
});

test("list, statistics and export ask for the same filter", () => {
  const view = parse("?start_date=-7d&level=error&level=!debug&search_query=a+b&page=2&snapshot=5&limit=25&zone=utc");
  const filter = filterQuery(view).toString();
  const without = (query, ...names) => {
    for (const name of names) query.delete(name);
    return query.toString();
  };
  assert.equal(without(listQuery(view), "limit", "page", "snapshot"), filter);
  assert.equal(without(statisticsQuery(view, "UTC", null), "tz"), filter);
  assert.equal(without(exportQuery(view, "csv"), "format"), filter);
  assert.equal(filter, "start_date=-7d&search_query=a+b&level=error&level=%21debug");
});

test("the page's own words never reach the API", () => {
  const view = parse("?start_date=all&zone=utc&refresh=5&event=e&pane=raw&tab=logs");
  assert.equal(filterQuery(view).toString(), "");
  assert.equal(statisticsQuery(view, "UTC", "2026-01-01T00:00:00Z").get("start_date"), "2026-01-01T00:00:00Z");
});

test("later pages are read at the snapshot of the first", () => {
  assert.equal(listQuery(parse("?page=3&snapshot=12")).toString(), "start_date=-24h&limit=50&page=3&snapshot=12");
  assert.equal(listQuery(parse("?snapshot=12")).toString(), "start_date=-24h&limit=50");
});

test("values are switched on and off, and asking for one forgets the others", () => {
  const view = parse("?level=error&level=!debug");
  assert.deepEqual(toggled(view, "level", "error"), { level: ["!debug"] });
  assert.deepEqual(toggled(view, "level", "info"), { level: ["error", "!debug", "info"] });
  assert.deepEqual(only(view, "level", "info"), { level: ["info"] });
  assert.deepEqual(only(view, "level", "error", true), { level: ["!debug", "!error"] });
  assert.deepEqual(replaced(view, "level", []), {});
});

test("set filters are told in words, with what they exclude", () => {
  const shown = activeFilters(parse("?level=!debug&username=alice")).map(({ filter, text, excluded }) => [filter.label, text, excluded]);
  assert.deepEqual(shown, [
    ["Level", "debug", true],
    ["User", "alice", false],
  ]);
});

test("relative moments are counted from now", () => {
  const now = Date.parse("2026-11-23T12:00:00Z");
  assert.equal(instant("-24h", now), now - 86_400_000);
  assert.equal(instant("-15m", now), now - 900_000);
  assert.equal(instant("", now), now);
  assert.equal(instant("2026-11-23", now), Date.parse("2026-11-23T00:00:00Z"));
  assert.equal(instant("nonsense", now), null);
});

test("what a page cannot show is left out of its state", () => {
  const view = parse("?tab=nowhere&state=gone&rules=odd&test=3&days=0&severity=");
  assert.deepEqual(view, DEFAULT_VIEW);
});
