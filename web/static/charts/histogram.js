// @ts-check
/** Something over time, stacked by its parts: levels unless said otherwise. A drag over it, or a press on a bar, sets the range. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { brief, count, minute, tick } from "../format.js";
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
 * A part of a bar: its name in the buckets, how it is called, and the class that has its colour.
 * @typedef {{ name: string, text: string, mark: string }} Part
 */

/** @type {readonly Part[]} */
const LEVEL_PARTS = Object.freeze(LEVELS.map((name) => ({ name, text: label(name), mark: `level-${name}` })));

/**
 * @param {{
 *   buckets: readonly import("./scale.js").Bucket[], zone: "local" | "utc",
 *   onRange: (start: number, end: number) => void, parts?: readonly Part[], what?: string,
 * }} props  `what` names what is counted
 */
export function Histogram({ buckets, zone, onRange, parts = LEVEL_PARTS, what = "Events over time" }) {
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
      aria-label=${summary(buckets, zone, what)}
      onPointerDown=${onPointerDown}
      onPointerMove=${onPointerMove}
      onPointerUp=${onPointerUp}
      onPointerLeave=${onPointerLeave}
      onPointerCancel=${onPointerCancel}
    >
      <${ValueAxis} top=${top} width=${width} height=${plotHeight} />
      <${TimeAxis} from=${first.start} to=${last.end} x=${x} zone=${zone} width=${plotWidth} />
      ${buckets.map((bucket) => html`<${Bar} key=${bucket.start} bucket=${bucket} parts=${parts} x=${x} top=${top} height=${plotHeight} />`)}
      ${under !== null &&
      brush === null &&
      html`<rect class="hover" x=${x(under.start)} y=${TOP} width=${x(under.end) - x(under.start)} height=${plotHeight} />`}
      ${chosen !== null &&
      html`<rect class="brush" x=${x(chosen.start)} y=${TOP} width=${x(chosen.end) - x(chosen.start)} height=${plotHeight} />`}
    </svg>
    ${under !== null &&
    html`<${Tip} bucket=${under} parts=${parts} chosen=${chosen} zone=${zone} at=${x((under.start + under.end) / 2)} width=${width} />`}
  </div>`;
}

/** @param {{ bucket: import("./scale.js").Bucket, parts: readonly Part[], x: (moment: number) => number, top: number, height: number }} props */
function Bar({ bucket, parts, x, top, height }) {
  if (bucket.total === 0) return null;
  const left = x(bucket.start);
  const room = x(bucket.end) - left;
  const wide = Math.max(1, room - (room > 3 * GAP ? GAP : 0));
  let ground = TOP + height;
  const counts = parts.map(({ name }) => bucket.byLevel[name] ?? 0);
  return stackHeights(counts, top, height).map((pixels, index) => {
    ground -= pixels;
    return pixels === 0
      ? null
      : html`<rect class="bar ${parts[index]?.mark}" x=${left} y=${ground} width=${wide} height=${pixels} />`;
  });
}

/** @param {{ top: number, width: number, height: number }} props */
function ValueAxis({ top, width, height }) {
  return Array.from({ length: LINES + 1 }, (_, index) => {
    const y = TOP + height - (index / LINES) * height;
    return html`<g class="axis" aria-hidden="true">
      <line x1=${LEFT} x2=${width - RIGHT} y1=${y} y2=${y} />
      <text x=${LEFT - 6} y=${y + 4} text-anchor="end">${brief((top * index) / LINES)}</text>
    </g>`;
  });
}

/** @param {{ from: number, to: number, x: (moment: number) => number, zone: "local" | "utc", width: number }} props */
function TimeAxis({ from, to, x, zone, width }) {
  const most = Math.max(2, Math.floor(width / PIXELS_A_TICK));
  const { step, ticks } = timeTicks(from, to, most, (at) => zoneOffset(at, zone));
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
 * @param {{ bucket: import("./scale.js").Bucket, parts: readonly Part[], chosen: { start: number, end: number } | null, zone: "local" | "utc",
 *   at: number, width: number }} props
 */
function Tip({ bucket, parts, chosen, zone, at, width }) {
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
    parts
      .filter(({ name }) => (bucket.byLevel[name] ?? 0) > 0)
      .reverse()
      .map(
        ({ name, text, mark }) => html`<p key=${name}>
          ${mark.startsWith("level-") ? html`<${LevelMark} level=${mark.slice(6)} />` : html`<span class="swatch ${mark}"></span>`} ${text}
          <b>${count(bucket.byLevel[name])}</b>
        </p>`,
      )}
    ${chosen === null && html`<p>Total <b>${count(bucket.total)}</b></p>`}
  </div>`;
}

/**
 * The chart in one sentence, for those who do not see it.
 * @param {readonly import("./scale.js").Bucket[]} buckets
 * @param {"local" | "utc"} zone
 * @param {string} what
 */
function summary(buckets, zone, what) {
  const total = buckets.reduce((sum, bucket) => sum + bucket.total, 0);
  const peak = buckets.reduce((best, bucket) => (bucket.total > best.total ? bucket : best));
  if (total === 0) return `${what}: none in this range.`;
  return `${what}: ${count(total)} in ${buckets.length} bars, most at ${minute(peak.start, zone)} with ${count(peak.total)}.`;
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
