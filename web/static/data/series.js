// @ts-check
/** From the statistics' `series` to the buckets a chart draws. Pure. */

/**
 * The buckets of an answer of statistics, oldest first; empty when it has none.
 * @param {any} statistics
 * @returns {import("../charts/scale.js").Bucket[]}
 */
export function bucketsOf(statistics) {
  /** @type {{ start: string, total: number, byLevel: Record<string, number> }[]} */
  const points = statistics?.series ?? [];
  const starts = points.map((point) => Date.parse(point.start));
  const length = 1000 * (statistics?.seriesSeconds ?? 1);
  return points.map(({ total, byLevel }, index) => {
    const start = starts[index] ?? 0;
    return { start, end: starts[index + 1] ?? start + length, total, byLevel };
  });
}
