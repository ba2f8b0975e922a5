// @ts-check
/** From the statistics' `series` to the buckets a chart draws. Pure. */

import { LEVELS } from "../vocabulary.js";

/**
 * @typedef {{ start: string, total?: number, byLevel?: Record<string, number> }} Point
 */

/**
 * The buckets of an answer of statistics, oldest first; empty when it has none.
 * @param {any} statistics
 * @returns {import("../charts/scale.js").Bucket[]}
 */
export function bucketsOf(statistics) {
  const series = statistics?.series;
  /** @type {Point[]} */
  const points = Array.isArray(series) ? series : (series?.buckets ?? []);
  const starts = points.map((point) => Date.parse(point.start));
  const end = Date.parse(statistics?.timeRange?.end ?? "");
  return points.map((point, index) => {
    const start = starts[index] ?? 0;
    const byLevel = point.byLevel ?? {};
    const total = point.total ?? Object.values(byLevel).reduce((sum, count) => sum + count, 0);
    return { start, end: starts[index + 1] ?? Math.max(end, start + 1), total, byLevel };
  });
}

/**
 * Counts of a bucket in the order of the levels.
 * @param {import("../charts/scale.js").Bucket} bucket
 */
export function levelCounts(bucket) {
  return LEVELS.map((level) => bucket.byLevel[level] ?? 0);
}
