// Elements, the flow figure, the ring, the bars, the chart and the sparkline.

import { NB, clock, day, duration, lang, number, w } from "./words.js";

// --- elements: texts are always text nodes, never markup -------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}
export const h = (tag, attributes, ...children) => make(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => make(document.createElementNS(SVG, tag), attributes, children);
export const icon = (name, extra = "") => s("svg", { class: `icon ${extra}`, "aria-hidden": "true" }, s("use", { href: `#i-${name}` }));

// What a child is known by: its id, or the class that names a card. Others are known by their place.
const named = node => node.id || (node.nodeName === "SECTION" && /^card (c-\w+)/.exec(node.className)?.[1]) || "";

// Changes `old` into `fresh` in place: focus, pointer, open details and running animations stay.
export function patch(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.dataset && "keep" in old.dataset) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (fresh.onclick) old.onclick = fresh.onclick;
  const wanted = [...fresh.childNodes], kept = new Set(wanted.map(named)), known = new Map();
  for (const child of [...old.childNodes]) {
    const name = named(child);
    if (name && !kept.has(name)) child.remove();
    else if (name) known.set(name, child);
  }
  wanted.forEach((child, place) => {
    const at = old.childNodes[place] || null, name = named(child), same = name ? known.get(name) : at && !named(at) ? at : null;
    if (same && same !== at) old.insertBefore(same, at);
    if (same) patch(same, child);
    else old.insertBefore(child, at);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

// --- power now -----------------------------------------------------------------------------------------

const ROW = 110;

// Nodes: {side, kind, watts, fresh, known}. On the left positive power flows into the middle, on the right out of it.
// Widths are linear in power.
export function wires(nodes, peak, narrow, lost) {
  const perWatt = Math.min(0.0085, 40 / Math.max(peak, 1)) * (narrow ? 0.5 : 1);
  const sides = { left: nodes.filter(n => n.side === "left"), right: nodes.filter(n => n.side === "right") };
  const rows = Math.max(sides.left.length, sides.right.length, 2), height = rows * ROW, middle = height / 2;
  const paths = [], marks = [];
  let bar = 30;
  for (const [side, list] of Object.entries(sides)) {
    const width = n => n.fresh && Math.abs(n.watts) >= 1 ? Math.max(3, Math.abs(n.watts) * perWatt) : 0;
    const whole = list.reduce((sum, n) => sum + Math.max(width(n) + 3, 7), 0);
    bar = Math.max(bar, whole);
    let at = middle - whole / 2;
    list.forEach((n, place) => {
      const t = width(n), room = Math.max(t + 3, 7), y = at + room / 2;
      at += room;
      const end = side === "left" ? 0 : 100, row = middle + (place - (list.length - 1) / 2) * ROW;
      const bend = side === "left" ? 25 : 75;
      const out = `M${end} ${row}C${bend} ${row} ${bend} ${y} 50 ${y}`, back = `M50 ${y}C${bend} ${y} ${bend} ${row} ${end} ${row}`;
      if (!n.known) return;
      if (!t) {
        paths.push(s("path", { class: `idle${n.fresh ? "" : " unknown"}`, d: out }));
        return;
      }
      const inward = side === "left" ? n.watts > 0 : n.watts < 0, speed = Math.abs(n.watts) < 1000 ? 1 : Math.abs(n.watts) < 3000 ? 2 : 3;
      paths.push(s("path", { class: `wire o s-${n.kind}`, "stroke-width": (t + 3).toFixed(1), d: out }),
        s("path", { class: `wire i in-${n.kind}`, "stroke-width": t.toFixed(1), d: out }));
      if (!lost) paths.push(s("path", { class: `dots s-${n.kind} v${speed}`, d: inward ? out : back }));
      const x = inward ? "50%" : `${end}%`, y2 = inward ? y : row, toRight = (side === "left") === inward;
      const tip = inward ? (toRight ? -9 : 9) : (toRight ? 11 : -11), base = inward ? (toRight ? -19 : 19) : (toRight ? 1 : -1);
      marks.push(s("svg", { x, y: y2 }, s("path", { class: `a-${n.kind}`, d: `M${base} -7L${tip} 0L${base} 7z` })));
    });
  }
  const half = bar / 2 + 8;
  return s("svg", { class: "wires", "aria-hidden": "true", height },
    s("svg", { viewBox: `0 0 100 ${height}`, width: "100%", height, preserveAspectRatio: "none" }, paths), marks,
    s("svg", { x: "50%", y: middle }, s("rect", { class: "bus", x: -7, y: -half, width: 14, height: half * 2, rx: 7 })));
}

export function ring(value, reserve) {
  const label = w.ring(Math.round(value)) + (reserve ? w.ringReserve(Math.round(reserve)) : "");
  return s("svg", { class: "ring", viewBox: "0 0 104 104", role: "img", "aria-label": label },
    s("circle", { class: "track", cx: 52, cy: 52, r: 46 }),
    s("circle", { class: "arc", cx: 52, cy: 52, r: 46, pathLength: 100, "stroke-dasharray": `${Math.max(0, Math.min(100, value))} 100`, transform: "rotate(-90 52 52)" }),
    reserve ? s("path", { class: "reserve", d: "M52 0V12", transform: `rotate(${reserve * 3.6} 52 52)` }) : null,
    s("text", { x: 52, y: 61 }, number(Math.round(value)), s("tspan", { class: "pc", dx: 2 }, "%")));
}

// One bar: parts are [kind, kWh], drawn over `whole`.
export function bar(parts, whole) {
  let at = 0;
  return s("svg", null, parts.filter(part => part[1] > 0).map(([kind, value]) => {
    const share = value / whole * 100, x = at;
    at += share;
    return share < 0.4 ? null : s("rect", { class: kind === "gap" ? "box gap" : `box f-${kind} s-${kind}`, x: `${(x + 0.2).toFixed(2)}%`, y: 1, width: `${Math.max(0.3, share - 0.6).toFixed(2)}%`, height: 16, rx: 2.5 });
  }));
}
export const swatch = kind => s("svg", { class: "sw", "aria-hidden": "true" }, s("rect", { class: kind === "gap" ? "box gap" : `box f-${kind} s-${kind}`, x: 1, y: 1, width: 8, height: 8, rx: 1.5 }));

export function sparkline(values, peak) {
  const points = [], runs = [];
  const top = Math.max(peak, 1), step = 168 / Math.max(1, values.length - 1);
  values.forEach((value, i) => {
    if (value === null) points.length = 0;
    else {
      if (!points.length) runs.push([]);
      points.push(i);
      runs.at(-1).push(`${(i * step).toFixed(1)} ${(28 - Math.max(0, Math.min(1, value / top)) * 26).toFixed(1)}`);
    }
  });
  const gaps = [];
  let from = null;
  values.forEach((value, i) => {
    if (value === null && from === null) from = i;
    if (from !== null && (value !== null || i === values.length - 1)) {
      gaps.push(s("rect", { class: "gap", x: from * step, y: 2, width: Math.max(3, (i - from) * step), height: 26 }));
      from = null;
    }
  });
  return s("svg", { class: "spark", "aria-hidden": "true" }, s("line", { class: "zero", x1: 0, x2: 168, y1: 28.5, y2: 28.5 }), gaps,
    runs.map(run => [s("path", { class: "f-sun", d: `M${run.join("L")}V28H${run[0].split(" ")[0]}z` }), s("path", { class: "ln s-sun", d: `M${run.join("L")}` })]));
}

// --- the chart -----------------------------------------------------------------------------------------

const SERIES = [["pv_power", "sun", true], ["grid_power", "grid", true], ["consumption_power", "house", false], ["battery_soc", "battery", true]];
const JOINED_S = 1200;

// Columns for uPlot: of each quantity one that is live and one that was backfilled. Between readings that are
// near enough a line is drawn (undefined); across a gap there is none (null).
export function columns(history) {
  const { times, curves, gaps } = history;
  const data = [times];
  const ends = gaps.map(gap => [Date.parse(gap.from) / 1000, Date.parse(gap.to) / 1000, gap.source.join("/")]);
  for (const [quantity] of SERIES) {
    const curve = curves[quantity];
    const live = new Array(times.length).fill(null), filled = new Array(times.length).fill(null);
    if (curve) {
      const late = new Set(curve.backfilled), mine = ends.filter(gap => gap[2] === curve.source.join("/"));
      let last = -1;
      curve.values.forEach((value, i) => {
        if (value === null) return;
        const joined = last >= 0 && times[i] - times[last] <= JOINED_S && !mine.some(gap => gap[0] < times[i] && gap[1] > times[last] && gap[1] - gap[0] > history.bin_s);
        const column = late.has(i) ? filled : live;
        column[i] = value;
        if (joined) {
          if (late.has(last) !== late.has(i)) filled[late.has(i) ? last : i] = curve.values[late.has(i) ? last : i];
          const through = late.has(i) || late.has(last) ? filled : live;
          for (let k = last + 1; k < i; k++) through[k] = undefined;
        }
        last = i;
      });
    }
    data.push(live, filled);
  }
  return data;
}

// Stretches without any reading, longer than what is joined.
export function holes(history) {
  const { times, curves } = history, known = times.map((_, i) => Object.values(curves).some(curve => curve.values[i] !== null));
  const found = [], first = known.indexOf(true);
  let from = first;
  for (let i = first + 1; first >= 0 && i < known.length; i++) {
    if (!known[i]) continue;
    if (times[i] - times[from] > JOINED_S) found.push([times[from] + history.bin_s / 2, times[i] - history.bin_s / 2]);
    from = i;
  }
  return found;
}

export class Chart {
  constructor(element) {
    this.element = element;
    this.plot = null;
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(element);
  }

  resize() {
    const width = this.element.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: 232 });
  }

  close() {
    this.observer.disconnect();
    if (this.plot) this.plot.destroy();
    this.plot = null;
  }

  // Colours come from the style sheet, so that light, dark and forced colours need no code.
  colours() {
    const style = getComputedStyle(document.documentElement), of = name => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), ink2: of("--ink-2"), line: of("--line"), line2: of("--line-2"), surface: of("--surface"),
      sun: [of("--sun"), of("--sun-soft")], grid: [of("--grid"), of("--grid-soft")], house: [of("--house"), of("--house-soft")], battery: [of("--battery"), of("--battery-soft")] };
  }

  show(history, zone, lost) {
    this.history = history;
    this.lost = lost;
    const key = [lang, zone, matchMedia("(prefers-color-scheme: dark)").matches, this.element.clientWidth < 500].join();
    const data = columns(history);
    this.holes = holes(history);
    if (this.plot && this.key === key) {
      this.plot.setData(data);
      return;
    }
    if (this.plot) this.plot.destroy();
    this.key = key;
    this.plot = new window.uPlot(this.options(zone), data, this.element);
  }

  options(zone) {
    const c = this.colours(), narrow = this.element.clientWidth < 500, font = `11.5px ${getComputedStyle(document.body).fontFamily}`;
    // Powers take the upper three quarters, the charge the lower quarter of one plot.
    const watts = (_, low, high) => {
      const top = Math.max(high ?? 0, 500), bottom = Math.min(low ?? 0, 0), span = top - bottom;
      return [bottom - span * 0.34, top + span * 0.12];
    };
    const axis = { stroke: c.ink2, font, ticks: { show: false }, gap: 6 };
    const series = SERIES.flatMap(([, kind, area]) => [false, true].map(late => ({
      scale: kind === "battery" ? "%" : "W", stroke: c[kind][0], width: 1.75, dash: late ? [4, 3] : undefined, points: { show: false },
      fill: area ? c[kind][1] + (late ? "73" : "") : undefined, fillTo: () => 0 })));
    return {
      width: this.element.clientWidth || 600, height: 232, padding: [4, 6, 0, 0], legend: { show: false }, cursor: { show: false }, select: { show: false },
      tzDate: ts => window.uPlot.tzDate(new Date(ts * 1e3), zone),
      scales: { x: { time: true, range: (_, from, to) => [from, to] }, W: { range: watts }, "%": { range: [-4, 560] } },
      series: [{}, ...series],
      axes: [
        { ...axis, size: 34, gap: 14, grid: { show: false }, space: narrow ? 46 : 110, incrs: [10800, 21600, 43200], values: (_, ticks) => ticks.map(t => clock(t * 1e3, zone) === "00:00" ? day(t * 1e3, zone) : clock(t * 1e3, zone)) },
        { ...axis, scale: "W", size: 46, grid: { stroke: c.line, width: 1 }, space: 32, splits: (_u, _i, low, high) => powerSplits(low, high),
          values: (_, ticks) => ticks.map((t, i) => i === ticks.length - 1 ? number(t / 1000, t % 1000 ? 1 : 0) + NB + "kW" : number(Math.abs(t) / 1000, t % 1000 ? 1 : 0)) },
        { ...axis, scale: "%", side: 3, size: 0.001, grid: { stroke: c.line, width: 1 }, splits: () => [0, 100], values: () => [] },
      ],
      hooks: { drawClear: [u => this.under(u, c)], draw: [u => this.over(u, c, zone, font)] },
    };
  }

  under(u, c) {
    const { ctx, bbox } = u, ratio = window.devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = c.line2;
    for (const [from, to] of this.holes) {
      const x = u.valToPos(from, "x", true), x2 = u.valToPos(to, "x", true);
      ctx.save();
      ctx.beginPath();
      ctx.rect(x, bbox.top, x2 - x, bbox.height);
      ctx.clip();
      ctx.lineWidth = 1.2 * ratio;
      for (let k = x - bbox.height; k < x2; k += 8 * ratio) {
        ctx.beginPath();
        ctx.moveTo(k, bbox.top + bbox.height);
        ctx.lineTo(k + bbox.height, bbox.top);
        ctx.stroke();
      }
      ctx.restore();
    }
    ctx.restore();
  }

  over(u, c, zone, font) {
    const { ctx, bbox } = u, ratio = window.devicePixelRatio, times = u.data[0];
    ctx.save();
    ctx.textAlign = "left";
    ctx.font = font.replace("11.5px", `${11.5 * ratio}px`);
    const vertical = (t, colour, dash) => {
      const x = Math.round(u.valToPos(t, "x", true)) + 0.5;
      ctx.strokeStyle = colour;
      ctx.setLineDash(dash.map(d => d * ratio));
      ctx.lineWidth = ratio;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      return x;
    };
    for (const t of times) if (t % 3600 < this.history.bin_s && clock((t - t % 3600) * 1e3, zone) === "00:00") vertical(t - t % 3600, c.line2, [1, 3]);
    ctx.fillStyle = c.ink;
    ctx.textBaseline = "top";
    const label = (text, x, before) => {
      const width = ctx.measureText(text).width, left = Math.max(bbox.left, Math.min(bbox.left + bbox.width - width, before ? x - width - 6 * ratio : x));
      ctx.fillText(text, left, bbox.top + 1 * ratio);
    };
    for (const [from, to] of this.holes) {
      const x = vertical(from, c.ink2, [2, 2]);
      vertical(to, c.ink2, [2, 2]);
      label(w.noDataFor(duration(to - from)), x, true);
    }
    // The strip below: solid where data arrived live, dashed where it was fetched later, nothing in a gap.
    const y = bbox.top + bbox.height + 3 * ratio, known = new Map();
    for (const curve of Object.values(this.history.curves)) {
      const late = new Set(curve.backfilled);
      curve.values.forEach((value, i) => { if (value !== null) known.set(i, known.get(i) === "live" || !late.has(i) ? "live" : "late"); });
    }
    let from = null;
    times.forEach((t, i) => {
      const kind = known.get(i), next = known.get(i + 1);
      if (from === null && kind) from = t;
      if (from !== null && kind && kind !== next) {
        const x = u.valToPos(from, "x", true), x2 = u.valToPos(next ? times[i + 1] : t, "x", true);
        ctx.setLineDash(kind === "late" ? [4 * ratio, 3 * ratio] : []);
        ctx.strokeStyle = kind === "late" ? c.ink2 : c.line2;
        ctx.lineWidth = (kind === "late" ? 1.5 : 3) * ratio;
        ctx.beginPath();
        ctx.moveTo(x, y);
        ctx.lineTo(Math.max(x2, x + ratio), y);
        ctx.stroke();
        if (kind === "late" && x2 - x > 20 * ratio) label(w.backfilled, x, false);
        from = null;
      } else if (!kind) from = null;
    });
    ctx.setLineDash([]);
    if (this.history.curves.battery_soc) {
      ctx.textAlign = "right";
      ctx.textBaseline = "middle";
      ctx.fillStyle = c.ink2;
      for (const value of [0, 100]) ctx.fillText(number(value) + (value ? NB + "%" : ""), bbox.left - 6 * ratio, u.valToPos(value, "%", true));
    }
    if (!this.lost) {
      SERIES.forEach(([, kind], k) => {
        const column = u.data[1 + 2 * k], last = column.length - 1;
        const at = [last, last - 1].find(i => typeof column[i] === "number");
        if (at === undefined) return;
        ctx.beginPath();
        ctx.arc(u.valToPos(times[at], "x", true), u.valToPos(column[at], kind === "battery" ? "%" : "W", true), 4 * ratio, 0, 7);
        ctx.fillStyle = c[kind][0];
        ctx.fill();
        ctx.strokeStyle = c.surface;
        ctx.lineWidth = 1.5 * ratio;
        ctx.stroke();
      });
    }
    ctx.restore();
  }
}

function powerSplits(low, high) {
  const span = (high - low) / 1.46, step = [250, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 1e6].find(each => span / each <= 4.5) || 1e7;
  const top = high - span * 0.12, bottom = low + span * 0.34, found = [];
  for (let t = Math.ceil((bottom - 1) / step) * step; t <= top + 1; t += step) found.push(t);
  return found;
}
