// @ts-check
/** Events over time, stacked by level. A drag over it, or a press on a bar, sets the range. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { levelCounts } from "../data/series.js";
import { count, minute, tick } from "../format.js";
import { html } from "../html.js";
import { LevelMark } from "../parts/level.js";
import { LEVELS, label } from "../vocabulary.js";
import { niceTop, snap, stackHeights, timeTicks, zoneOffset } from "./scale.js";

const HEIGHT = 168; // pixels of the whole drawing
const LEFT = 44; // room for the numbers of the axis
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 22; // room for the times
const GAP = 1; // between bars
const LINES = 2; // divisions of the value axis
const PIXELS_A_TICK = 52;
const DRAG_PIXELS = 4; // less is a press

/**
 * @param {{
 *   buckets: readonly import("./scale.js").Bucket[], zone: "local" | "utc",
 *   onRange: (start: number, end: number) => void,
 * }} props
 */
export function Histogram({ buckets, zone, onRange }) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const width = useWidth(frame);
  const [pointer, setPointer] = useState(/** @type {number | null} */ (null));
  const [brush, setBrush] = useState(/** @type {{ from: number, to: number } | null} */ (null));
  const first = buckets[0];
  const last = buckets[buckets.length - 1];
  if (first === undefined || last === undefined) return html`<p class="quiet">No buckets in this range.</p>`;

  const plotWidth = Math.max(1, width - LEFT - RIGHT);
  const plotHeight = HEIGHT - TOP - BOTTOM;
  /** @param {number} moment */
  const x = (moment) => LEFT + ((moment - first.start) / (last.end - first.start)) * plotWidth;
  /** @param {number} place */
  const moment = (place) => first.start + ((place - LEFT) / plotWidth) * (last.end - first.start);
  const top = niceTop(Math.max(...buckets.map((bucket) => bucket.total)));
  const under = pointer === null ? null : snapOne(buckets, moment(pointer));
  const chosen = brush === null ? null : snap(buckets, moment(brush.from), moment(brush.to));

  /** @param {PointerEvent} event */
  const place = (event) => {
    const left = frame.current?.getBoundingClientRect().left ?? 0;
    return Math.min(width - RIGHT, Math.max(LEFT, event.clientX - left));
  };
  /** @param {PointerEvent} event */
  const onPointerDown = (event) => {
    if (event.button !== 0) return;
    /** @type {Element} */ (event.currentTarget).setPointerCapture(event.pointerId);
    setBrush({ from: place(event), to: place(event) });
  };
  /** @param {PointerEvent} event */
  const onPointerMove = (event) => {
    setPointer(place(event));
    if (brush !== null) setBrush({ from: brush.from, to: place(event) });
  };
  /** @param {PointerEvent} event */
  const onPointerUp = (event) => {
    if (brush === null) return;
    const dragged = Math.abs(place(event) - brush.from) >= DRAG_PIXELS;
    const range = snap(buckets, moment(brush.from), moment(dragged ? place(event) : brush.from));
    setBrush(null);
    if (range !== null && (buckets.length > 1 || dragged)) onRange(range.start, range.end);
  };
  const onPointerLeave = () => setPointer(null);
  const onPointerCancel = () => setBrush(null);

  return html`<div class="histogram" ref=${frame}>
    <svg
      width=${width}
      height=${HEIGHT}
      viewBox="0 0 ${width} ${HEIGHT}"
      role="img"
      aria-label=${summary(buckets, zone)}
      onPointerDown=${onPointerDown}
      onPointerMove=${onPointerMove}
      onPointerUp=${onPointerUp}
      onPointerLeave=${onPointerLeave}
      onPointerCancel=${onPointerCancel}
    >
      <${ValueAxis} top=${top} width=${width} height=${plotHeight} />
      <${TimeAxis} from=${first.start} to=${last.end} x=${x} zone=${zone} width=${plotWidth} />
      ${buckets.map((bucket) => html`<${Bar} key=${bucket.start} bucket=${bucket} x=${x} top=${top} height=${plotHeight} />`)}
      ${under !== null &&
      brush === null &&
      html`<rect class="hover" x=${x(under.start)} y=${TOP} width=${x(under.end) - x(under.start)} height=${plotHeight} />`}
      ${chosen !== null &&
      html`<rect class="brush" x=${x(chosen.start)} y=${TOP} width=${x(chosen.end) - x(chosen.start)} height=${plotHeight} />`}
    </svg>
    ${under !== null &&
    html`<${Tip} bucket=${under} chosen=${chosen} zone=${zone} at=${x((under.start + under.end) / 2)} width=${width} />`}
  </div>`;
}

/** @param {{ bucket: import("./scale.js").Bucket, x: (moment: number) => number, top: number, height: number }} props */
function Bar({ bucket, x, top, height }) {
  if (bucket.total === 0) return null;
  const left = x(bucket.start);
  const room = x(bucket.end) - left;
  const wide = Math.max(1, room - (room > 3 * GAP ? GAP : 0));
  let ground = TOP + height;
  return stackHeights(levelCounts(bucket), top, height).map((pixels, index) => {
    ground -= pixels;
    return pixels === 0
      ? null
      : html`<rect class="bar level-${LEVELS[index]}" x=${left} y=${ground} width=${wide} height=${pixels} />`;
  });
}

/** @param {{ top: number, width: number, height: number }} props */
function ValueAxis({ top, width, height }) {
  return Array.from({ length: LINES + 1 }, (_, index) => {
    const y = TOP + height - (index / LINES) * height;
    return html`<g class="axis" aria-hidden="true">
      <line x1=${LEFT} x2=${width - RIGHT} y1=${y} y2=${y} />
      <text x=${LEFT - 6} y=${y + 4} text-anchor="end">${count((top * index) / LINES, true)}</text>
    </g>`;
  });
}

/** @param {{ from: number, to: number, x: (moment: number) => number, zone: "local" | "utc", width: number }} props */
function TimeAxis({ from, to, x, zone, width }) {
  const most = Math.max(2, Math.floor(width / PIXELS_A_TICK));
  const { step, ticks } = timeTicks(from, to, most, zoneOffset(from, zone));
  const right = LEFT + width - 18; // a label centred further right would be cut off
  return ticks
    .filter((at) => x(at) > LEFT + 10 && x(at) < right)
    .map(
      (at) => html`<g class="axis" aria-hidden="true">
        <line x1=${x(at)} x2=${x(at)} y1=${HEIGHT - BOTTOM} y2=${HEIGHT - BOTTOM + 4} />
        <text x=${x(at)} y=${HEIGHT - 5} text-anchor="middle">${tick(at, zone, step)}</text>
      </g>`,
    );
}

/**
 * @param {{ bucket: import("./scale.js").Bucket, chosen: { start: number, end: number } | null, zone: "local" | "utc",
 *   at: number, width: number }} props
 */
function Tip({ bucket, chosen, zone, at, width }) {
  const tip = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (tip.current === null) return;
    const half = tip.current.offsetWidth / 2;
    tip.current.style.left = `${Math.min(width - half, Math.max(half, at))}px`;
  });
  const range = chosen ?? bucket;
  return html`<div class="tip" ref=${tip} aria-hidden="true">
    <p>${minute(range.start, zone)} – ${minute(range.end, zone)}</p>
    ${chosen === null &&
    LEVELS.filter((level) => (bucket.byLevel[level] ?? 0) > 0)
      .reverse()
      .map(
        (level) => html`<p key=${level}><${LevelMark} level=${level} /> ${label(level)} <b>${count(bucket.byLevel[level])}</b></p>`,
      )}
    ${chosen === null && html`<p>Total <b>${count(bucket.total)}</b></p>`}
  </div>`;
}

/**
 * The chart in one sentence, for those who do not see it.
 * @param {readonly import("./scale.js").Bucket[]} buckets
 * @param {"local" | "utc"} zone
 */
function summary(buckets, zone) {
  const total = buckets.reduce((sum, bucket) => sum + bucket.total, 0);
  const peak = buckets.reduce((best, bucket) => (bucket.total > best.total ? bucket : best));
  if (total === 0) return "Events over time: none in this range.";
  return `Events over time: ${count(total)} in ${buckets.length} bars, most at ${minute(peak.start, zone)} with ${count(peak.total)}.`;
}

/**
 * @param {readonly import("./scale.js").Bucket[]} buckets
 * @param {number} moment
 */
function snapOne(buckets, moment) {
  return buckets.find((bucket) => moment < bucket.end) ?? buckets[buckets.length - 1] ?? null;
}

/**
 * The width of an element in pixels, kept up to date.
 * @param {{ current: HTMLElement | null }} frame
 */
function useWidth(frame) {
  const [width, setWidth] = useState(600);
  useEffect(() => {
    if (frame.current === null) return undefined;
    const observer = new ResizeObserver((entries) => {
      const found = entries[0]?.contentRect.width ?? 0;
      if (found > 0) setWidth(Math.floor(found));
    });
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);
  return width;
}
