// The page: connection, state, and what is shown of it.

import * as W from "./words.js";
import { Chart, bar, h, holes, icon, patch, ring, s, sparkline, swatch, wires } from "./draw.js";

const { NB } = W;
const STALE_S = 900;
const SILENT_MS = 8500;
const app = document.getElementById("app"), announcer = document.getElementById("announce");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const store = { homes: [], count: 0, cursor: null, loaded: false, history: null, sparks: new Map(), skew: 0, heldFor: null };
const link = { socket: null, open: false, since: null, retry: 0, timer: 0, nextAt: 0, heard: 0 };
const view = { sort: ["state", 1], filter: "all", said: new Map(), rows: new Map(), chart: null };

const now = () => Date.now() + store.skew;
const lost = () => store.loaded && link.since !== null && Date.now() - link.since > 2500;
const key = source => source.join("/");

W.setLang(localStorage.getItem("lang") || (navigator.language || "en").slice(0, 2));

// --- connection ------------------------------------------------------------------------------------------

async function load() {
  const wanted = route(), [state] = await Promise.all([get(`state${wanted ? `?home=${encodeURIComponent(wanted)}` : ""}`), loadHistory()]);
  if (!state || wanted !== route()) return;
  const first = !store.loaded, before = new Map(store.homes.map(home => [home.id, home.held]));
  Object.assign(store, { homes: state.homes, count: state.count, loaded: true });
  store.skew = Date.parse(state.now) - Date.now();
  if (first) store.cursor = state.cursor;
  for (const home of state.homes) if (Array.isArray(home.prefer)) hold(home, before.get(home.id));
  notice();
  draw();
}

async function loadHistory() {
  const wanted = route(), found = await get(`history${wanted ? `?home=${encodeURIComponent(wanted)}` : ""}`);
  if (!found || wanted !== route()) return;
  store.history = found.homes.length === 1 && found.homes[0].curves ? found.homes[0] : null;
  if (!store.history) store.sparks = new Map(found.homes.map(each => [each.id, each.values || []]));
  draw();
}

async function get(path) {
  try {
    const answer = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(8000) });
    if (answer.status === 404 && route()) location.hash = "";
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

const later = new Map();
function soon(name, run, ms) {
  if (!later.has(name)) later.set(name, setTimeout(() => (later.delete(name), run()), ms * (0.8 + 0.4 * Math.random())));
}

function connect() {
  clearTimeout(link.timer);
  link.nextAt = 0;
  const since = store.cursor ? `&since=${encodeURIComponent(store.cursor)}` : "";
  const socket = link.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/events?policy=coalesce_latest&raw=no${since}`);
  link.heard = Date.now();
  socket.onmessage = message => {
    if (socket !== link.socket) return;
    link.heard = Date.now();
    for (const line of message.data.split("\n")) take(JSON.parse(line));
  };
  socket.onclose = () => socket === link.socket && cut();
}

function cut(since = Date.now()) {
  link.socket = null;
  if (link.open || link.since === null) link.since = since;
  link.open = false;
  const wait = Math.min(10, 2 ** link.retry) * (0.75 + Math.random() / 2);
  link.retry += 1;
  link.nextAt = Date.now() + wait * 1000;
  link.timer = setTimeout(connect, wait * 1000);
  draw();
}

function drop() {
  const socket = link.socket;
  link.socket = null;
  if (socket) socket.close();
  cut(link.heard);
}

function tryNow() {
  if (!link.socket) connect();
  draw();
}

function take(event) {
  if (event.cursor) store.cursor = event.cursor;
  if (event.received_at || event.now) store.skew = Date.parse(event.received_at || event.now) - Date.now();
  if (event.kind === "relay") {
    if (!link.open) {
      const wasLost = lost();
      Object.assign(link, { open: true, since: null, retry: 0 });
      if (wasLost) say(W.w.says.live);
      load();
    }
  } else if (event.kind === "reading") {
    if (event.backfilled || event.late) soon("history", loadHistory, 4000);
    for (const home of store.homes) if (home.held) reading(home, event);
  } else {
    soon("state", load, 400);
    if (event.kind === "gap") soon("history", loadHistory, 4000);
  }
  soon("draw", draw, 250);
}

// --- present values --------------------------------------------------------------------------------------

// Every value of every source: the page chooses as the server does, so that a fresh one replaces a stale one.
function hold(home, before) {
  home.held = {};
  for (const [quantity, v] of Object.entries(home.values)) {
    const held = home.held[quantity] = new Map(), received = t => Math.min(now(), Date.parse(t));
    held.set(key(v.source), { source: v.source, value: v.value, unit: v.unit, time: Date.parse(v.time), received: now() - v.age_s * 1000 });
    for (const other of v.others) held.set(key(other.source), { source: other.source, value: other.value, unit: v.unit, time: Date.parse(other.time), received: received(other.time) });
  }
  // Events may have overtaken the answer; those of the same time that are still to come replace it again.
  for (const [quantity, known] of Object.entries(before || {})) {
    const held = home.held[quantity] ??= new Map();
    for (const [id, each] of known) if (!(held.get(id)?.time > each.time)) held.set(id, each);
  }
}

const rank = (home, source) => home.prefer.findIndex(parts => parts.every((part, i) => part === null || String(part) === String(source[i])));
const UNITS = { power: "W", soc: "%", voltage: "V", current: "A", temperature: "degC", energy: "kWh" };

function reading(home, event) {
  if (rank(home, event.source) < 0) return;
  for (const [quantity, value] of Object.entries(event.values)) {
    const held = home.held[quantity] ??= new Map(), known = held.get(key(event.source)), time = Date.parse(event.time);
    if (known && (known.time > time || (known.time === time && event.backfilled))) continue;
    held.set(key(event.source), { source: event.source, value, unit: UNITS[quantity.split("_").pop()] || known?.unit || "", time, received: Date.parse(event.received_at) });
  }
}

function stateOf(home, source) {
  const of = id => home.sources.find(each => key(each.source) === id);
  const own = of(key(source)) || of(key([...source.slice(0, 3), 0])), poller = of(key([...source.slice(0, 2), "*", 0]));
  return poller && !["live", "backfilling", "stale"].includes(poller.state) ? poller : own || poller;
}

function present(home, quantity) {
  const held = home.held?.[quantity];
  if (!held) {
    const brief = home.values?.[quantity];
    return Array.isArray(brief) ? { value: brief[0], time: Date.parse(brief[1]), age: (now() - Date.parse(brief[1])) / 1000, stale: Boolean(brief[2]), source: ["", "", "", 0], others: [] } : null;
  }
  const all = [...held.values()].map(each => {
    const age = Math.max(0, now() - each.time, now() - each.received) / 1000, state = stateOf(home, each.source);
    const down = state && (state.state === "stale" || ["disconnected", "failed", "auth_failed", "closed"].includes(state.state)) && age > 60;
    return { ...each, age, stale: age > STALE_S || Boolean(down), rank: rank(home, each.source) };
  });
  all.sort((a, b) => a.stale - b.stale || (a.stale ? a.age - b.age : 0) || a.rank - b.rank || (key(a.source) < key(b.source) ? -1 : 1));
  return { ...all[0], others: all.slice(1) };
}

function flowsOf(home) {
  const flow = quantity => {
    const p = present(home, quantity);
    return p && { watts: p.value, fresh: !p.stale, p };
  };
  return { sun: flow("pv_power"), grid: flow("grid_power"), house: flow("consumption_power"), battery: flow("battery_power"), generator: flow("generator_power") };
}

// A new sentence needs ten seconds; lost and stale are shown at once.
function saying(home, flows) {
  const known = Object.values(flows).filter(Boolean), last = Math.max(...known.map(f => f.p.time), 0);
  const all = known.length > 0 && known.every(f => !f.fresh);
  const found = W.situation(flows, lost() || all), shown = view.said.get(home.id), at = Date.now();
  if (!known.length) return [W.sentence(["unknown"]), false];
  if (lost() || all) return [W.pastSentence(shown && lost() ? shown.found : found, W.clock(lost() ? Math.min(now(), lastHeard()) : last, home.zone)), true];
  const urgent = found[0] === "rest" || found[0] === "unknown" || (shown && (shown.found[0] === "rest" || shown.found[0] === "unknown" || shown.past));
  if (!shown || urgent) view.said.set(home.id, { found, at, since: null });
  else if (found[0] === shown.found[0]) {
    shown.since = null;
    if (at - shown.at >= 10000) Object.assign(shown, { found, at });
  } else if (shown.since === null || shown.next !== found[0]) Object.assign(shown, { since: at, next: found[0] });
  else if (at - shown.since >= 10000) view.said.set(home.id, { found, at, since: null });
  return [W.sentence(view.said.get(home.id).found, `say-${home.id}`), false];
}

const lastHeard = () => link.heard + store.skew;

// --- parts -----------------------------------------------------------------------------------------------

const value = (number, unit) => [number, h("span", { class: "unit" }, NB + unit)];
const small = (...children) => h("p", { class: "small" }, children);
const aged = text => h("span", { class: "aged" }, icon("clock"), text);
const ageText = (p, zone) => lost() ? W.clockSeconds(p.time, zone) : W.age(p.age, now(), zone);

function top(home) {
  const zone = home ? home.zone : Intl.DateTimeFormat().resolvedOptions().timeZone, sources = store.homes.flatMap(each => each.sources);
  const devices = sources.filter(each => each.source[2] !== "*"), live = devices.filter(each => ["live", "backfilling"].includes(each.state)).length;
  const local = home && sameClock(zone) ? null : home && h("span", { class: "zone" }, `, ${W.w.zone(zone.replaceAll("_", " "))}`);
  return h("header", { class: "top" },
    h("nav", { "aria-label": W.w.homes }, store.count > 1 && home
      ? [h("a", { href: "#" }, W.w.homes), h("span", { "aria-hidden": "true" }, "/"), h("span", { "aria-current": "page" }, home.name)]
      : h("span", { "aria-current": "page" }, home ? home.name : W.w.homes)),
    h("ul", null,
      h("li", { class: lost() ? "conn off" : "conn" }, h("i"), lost() ? W.w.notConnected : !link.open ? W.w.connecting
        : live < devices.length ? W.w.liveOf(live, devices.length) : W.w.live(live)),
      h("li", null, `${W.day(lost() ? lastHeard() : now(), zone)}, ${W.clock(lost() ? lastHeard() : now(), zone)}`, local),
      h("li", null, h("a", { href: location.hash || "#", lang: W.w.otherLang, hreflang: W.w.otherLang, onclick: changeLanguage }, W.w.other))));
}

const sameClock = zone => W.clock(now(), zone) === W.clock(now(), Intl.DateTimeFormat().resolvedOptions().timeZone);

function changeLanguage(event) {
  event.preventDefault();
  W.setLang(W.w.otherLang);
  localStorage.setItem("lang", W.lang);
  view.rows.clear();
  draw();
}

function banner(zone) {
  if (!lost()) return h("section", { class: "banner", hidden: true });
  const left = Math.max(0, Math.ceil((link.nextAt - Date.now()) / 1000));
  return h("section", { class: "banner", "aria-label": W.w.connection }, h("div", null, icon("cut"),
    h("p", null, h("b", null, W.w.lost(W.duration((Date.now() - link.since) / 1000))), W.w.lostFrom(W.clockSeconds(lastHeard(), zone)),
      link.nextAt && left ? W.w.next(`${left}${NB}s`) : W.w.tryingNow),
    h("button", { type: "button", onclick: tryNow }, W.w.tryNow)));
}

function alarmBox(home) {
  if (!home.alarms.length) return null;
  const [worst] = home.alarms, since = Date.parse(worst.since), zone = home.zone;
  const when = W.clockOrDay(since, zone, now());
  const where = [W.vendorName(worst.source[0]), worst.device].filter(Boolean).join(", ");
  return h("section", { class: "alarm", "aria-labelledby": "h-alarm" }, icon("alarm"), h("div", null,
    h("h2", { id: "h-alarm" }, h("span", null, W.w.alarm), " ", worst.text),
    h("p", null, lost() ? W.w.sinceLost(when, W.clockSeconds(lastHeard(), zone)) : W.w.since(when, now() - since < 1728e5 && W.duration((now() - since) / 1000)), h("br"), where,
      home.alarms.length > 1 ? `; ${W.w.more(home.alarms.length - 1)}` : null)));
}

function node(kind, name, p, home, label) {
  const stale = p && p.stale;
  return h("li", { class: `c-${kind}${stale ? " is-stale" : ""}`, "data-node": label },
    h("p", { class: "n-name" }, icon(label), name),
    h("p", { class: "n-val" }, p ? value(...W.power(p.value, `node-${label}`)) : h("span", { class: "none" }, W.w.notKnown)),
    p ? stale ? h("p", null, aged(lost() ? W.w.staleSince(W.clock(p.time, home.zone)) : W.w.old(ageText(p, home.zone))))
      : small(h("span", null, ageText(p, home.zone)), h("span", { class: "sep" }, ", "), h("span", null, W.sourceName(p.source))) : null);
}

function powerCard(home, flows) {
  const { sun, grid, house, battery, generator } = flows, nodes = [];
  const add = (side, kind, label, flow, name) => nodes.push({ side, kind, label, name, p: flow?.p, watts: flow ? flow.watts : 0, fresh: Boolean(flow?.fresh), known: Boolean(flow) });
  const flowing = flow => flow && flow.fresh && Math.abs(flow.watts) >= 1;
  if (sun) add("left", "sun", "sun", sun, flowing(sun) ? W.w.fromSun : W.w.sun);
  if (grid) add("left", "grid", "grid", grid, flowing(grid) ? grid.watts > 0 ? W.w.fromGrid : W.w.toGrid : W.w.grid);
  if (generator) add("left", "house", "generator", generator, flowing(generator) ? W.w.fromGenerator : W.w.generator);
  add("right", "house", "house", house, W.w.toHouse);
  if (battery) add("right", "battery", "battery", battery, flowing(battery) ? battery.watts > 0 ? W.w.toBattery : W.w.fromBattery : W.w.battery);
  const side = which => nodes.filter(n => n.side === which);
  const rows = Math.max(side("left").length, side("right").length, 2);
  return h("section", { class: `card c-flow rows-${rows}`, "aria-labelledby": "h-flow" },
    h("header", null, h("h2", { id: "h-flow" }, lost() ? W.w.powerAt(W.clockSeconds(lastHeard(), home.zone)) : W.w.powerNow)),
    h("div", { class: "flow" },
      h("ul", { class: `from n-${side("left").length}` }, side("left").map(n => node(n.kind, n.name, n.p, home, n.label))),
      wires(nodes, home.peak_w || 0, innerWidth <= 640, lost()),
      h("ul", { class: `to n-${side("right").length}` }, side("right").map(n => node(n.kind, n.name, n.p, home, n.label)))));
}

function batteryCard(home, flows) {
  const soc = present(home, "battery_soc");
  if (!soc && !flows.battery) return null;
  const watts = flows.battery?.fresh ? flows.battery.watts : null, capacity = home.battery?.capacity_wh, reserve = home.battery?.reserve;
  const shown = watts === null ? "" : W.powerText(watts, "battery");
  let big, lead = null;
  if (lost()) {
    big = soc ? W.w.chargeAt(W.percent(soc.value), W.clockSeconds(lastHeard(), home.zone)) : "";
    if (watts !== null && Math.abs(watts) >= 1) lead = (watts > 0 ? W.w.wasCharging : W.w.wasDischarging)(shown);
  } else if (watts === null || Math.abs(watts) < 50 || !soc || soc.stale) {
    big = soc && !soc.stale && soc.value >= 99.5 ? W.w.full : watts === null ? W.w.notKnown : W.w.idle;
    if (watts !== null && Math.abs(watts) >= 1) lead = (watts > 0 ? W.w.charging : W.w.discharging)(shown);
  } else {
    const floor = watts < 0 && reserve && soc.value > reserve ? reserve : 0;
    const share = watts > 0 ? 100 - soc.value : soc.value - floor, seconds = capacity ? share / 100 * capacity / Math.abs(watts) * 3600 : Infinity;
    if (watts > 0 && soc.value >= 99.5) big = W.w.full;
    else if (seconds <= 86400 && share > 0) {
      const end = W.clock(Math.round((now() + seconds * 1000) / 300000) * 300000, home.zone);
      big = (watts > 0 ? W.w.fullAt : floor ? W.w.reserveAt : W.w.emptyAt)(end);
      lead = W.w.inTime(W.roundedDuration(seconds), shown);
    } else big = (watts > 0 ? W.w.charging : W.w.discharging)(shown);
  }
  if (big) big = big[0].toUpperCase() + big.slice(1);
  const more = ["battery_voltage", "battery_temperature"].map(q => [q, present(home, q)]).filter(([, p]) => p && !p.stale).map(([q, p]) => W.amount(q, p.unit, p.value));
  if (reserve) more.push(W.w.reserve(W.percent(reserve)));
  return h("section", { class: "card c-charge", "aria-labelledby": "h-charge" },
    h("header", null, h("h2", { id: "h-charge" }, W.w.battery),
      soc ? soc.stale && !lost() ? aged(W.w.old(ageText(soc, home.zone))) : small(ageText(soc, home.zone), ", ", W.sourceName(soc.source)) : null),
    h("div", { class: "charge" }, soc ? ring(soc.value, reserve) : null,
      h("div", null, h("p", { class: "big" }, big), lead ? h("p", { class: "quiet" }, lead) : null, more.length ? small(more.join(", ")) : null)));
}

function todayCard(home) {
  const t = home.today || {}, has = v => typeof v === "number";
  const into = [["sun", W.w.sun, t.pv_kwh], ["battery", W.w.fromBatteryKwh, t.battery_discharge_kwh], ["grid", W.w.fromGridKwh, t.grid_import_kwh], ["house", W.w.generator, t.generator_kwh]].filter(row => has(row[2]));
  const out = [["house", W.w.house, t.consumption_kwh], ["battery", W.w.toBatteryKwh, t.battery_charge_kwh], ["grid", W.w.toGridKwh, t.grid_export_kwh]].filter(row => has(row[2]));
  const sum = rows => rows.reduce((all, row) => all + Math.max(0, row[2]), 0), whole = sum(into), used = sum(out), rest = whole - used;
  if (rest > 0.05) out.push(["gap", W.w.losses, rest]);
  else if (rest < -0.05) out.push(["gap", W.w.losses, null]);
  const most = Math.max(whole, used, 0.001), total = v => `${W.kwh(v)}${NB}kWh`;
  const list = (title, rows, all) => h("div", null, h("h3", { class: "vh" }, `${title}: ${total(all)}`), h("dl", null, rows.map(([kind, name, v]) =>
    h("div", null, h("dt", null, swatch(kind), name), h("dd", null, v === null ? W.w.notBalanced : W.kwh(v))))));
  const notes = [lost() ? W.w.until(W.clockSeconds(lastHeard(), home.zone)) : null, (t.sources || []).map(W.vendorName).join(", "), t.missing_s >= 60 ? W.w.missing(W.duration(t.missing_s)) : null];
  return h("section", { class: "card c-today", "aria-labelledby": "h-today" },
    h("header", null, h("h2", { id: "h-today" }, W.w.today, h("span", { class: "small" }, notes.filter(Boolean).join(", "))),
      has(t.self_sufficiency) ? h("p", null, h("b", null, W.percent(t.self_sufficiency * 100)), " ", h("span", { class: "quiet" }, W.w.selfSufficient)) : null),
    into.length || out.length ? [
      h("div", { class: "bars", "aria-hidden": "true" }, h("span", null, W.w.in), bar(into.map(row => [row[0], row[2]]), most), h("b", null, total(whole)),
        h("span", null, W.w.out), bar(out.map(row => [row[0], row[2]]), most), h("b", null, total(Math.max(whole, used)))),
      h("div", { class: "inout" }, list(W.w.in, into, whole), list(W.w.out, out, Math.max(whole, used)))] : h("p", { class: "quiet" }, W.w.notMeasured));
}

function legend() {
  const sample = (name, ...shapes) => h("li", null, s("svg", null, shapes), name);
  const area = kind => [s("path", { class: `f-${kind}`, d: "M0 2h18v10H0z" }), s("path", { class: `ln s-${kind}`, d: "M0 2h18" })];
  return h("ul", { class: "legend", "aria-hidden": "true" }, sample(W.w.sun, area("sun")), sample(W.w.house, s("path", { class: "ln s-house", d: "M0 6h18" })),
    sample(W.w.gridLegend, area("grid")), sample(W.w.charge, area("battery")), sample(W.w.backfilled, s("path", { class: "ln bf s-house", d: "M0 6h18" })),
    sample(W.w.noData, s("rect", { class: "gap", width: 18, height: 12 })));
}

function chartCard(home) {
  const history = store.history && store.history.id === home.id ? store.history : null, zone = home.zone;
  if (!history) return h("section", { class: "card c-chart" }, h("header", null, h("h2", null, W.w.last24)), h("div", { id: "plot-empty", class: "plot" }));
  const main = ["pv_power", "consumption_power", "grid_power"].map(q => history.curves[q]).find(Boolean), soc = history.curves.battery_soc;
  const by = [main && W.sourceName(main.source), soc && (!main || key(soc.source) !== key(main.source)) && W.w.chargeFrom(W.sourceName(soc.source))].filter(Boolean).join("; ");
  const at = t => W.clockOrDay(t, zone, now());
  const missing = holes(history).map(([from, to]) => {
    const gap = history.gaps.find(each => Date.parse(each.from) / 1000 < to && Date.parse(each.to) / 1000 > from);
    return h("li", null, h("b", null, W.w.missingWord), ` ${at(from * 1e3)} ${W.w.to} ${W.clock(to * 1e3, zone)}`, gap ? `: ${W.w.gapReason(W.vendorName(gap.source[0]), gap.reason)}` : ".");
  });
  // What is being fetched at this moment; the hatch recedes as it arrives.
  const running = home.sources.filter(each => each.state === "backfilling").map(each => h("li", { class: "now" }, icon("backfilling"),
    h("b", null, W.w.states.backfilling), " ", each.backfill_s ? W.w.fetched(W.duration(each.backfill_s), W.percent((each.backfilled || 0) * 100)) : ""));
  const fetched = [];
  for (const b of history.backfills) if (Date.parse(b.to) - Date.parse(b.from) >= 12e4 && !fetched.some(f => Math.abs(Date.parse(f.from) - Date.parse(b.from)) < 6e5)) fetched.push(b);
  const filled = fetched.slice(-3).map(b => h("li", null, h("b", null, W.w.backfilled), ` ${at(Date.parse(b.from))} ${W.w.to} ${W.clock(Date.parse(b.to), zone)}`, b.at ? `: ${W.w.fetchedAt(W.clock(Date.parse(b.at), zone))}` : "."));
  return h("section", { class: "card c-chart", "aria-labelledby": "h-chart" },
    h("header", null, h("h2", { id: "h-chart" }, W.w.last24, h("span", { class: "small" }, by)), legend()),
    h("div", { id: "plot", class: "plot", "aria-hidden": "true", "data-keep": "" }),
    h("ul", { class: "record", hidden: !missing.length && !filled.length && !running.length }, running, missing.slice(-4), filled),
    h("details", null, h("summary", null, W.w.asTable), chartTable(home, history)));
}

function chartTable(home, history) {
  const { times, curves } = history, zone = home.zone, rows = [], gaps = holes(history);
  const cell = (q, i) => {
    const v = curves[q]?.values[i];
    if (v === null || v === undefined) return curves[q] ? W.w.noDataCell : W.w.notKnown;
    if (q === "battery_soc") return W.percent(v);
    return q === "grid_power" && Math.abs(v) >= 1 ? (v < 0 ? W.w.feedIn : W.w.importing)(W.powerText(v)) : W.powerText(v);
  };
  const row = (t, name, cells, how) => rows.push([t, h("tr", null, h("th", { scope: "row" }, name), cells.map(c => h("td", null, c)), h("td", null, how))]);
  const columns = ["pv_power", "consumption_power", "grid_power", "battery_soc"];
  times.forEach((t, i) => {
    const from = t - history.bin_s / 2, parts = W.clock(from * 1e3, zone).split(":");
    if (Number(parts[0]) % 3 || Number(parts[1]) || !columns.some(q => curves[q]?.values[i] !== null && curves[q])) return;
    const late = columns.some(q => curves[q]?.backfilled.includes(i));
    row(t, W.clock(from * 1e3, zone), columns.map(q => cell(q, i)), late ? W.w.arrivedBackfilled : W.w.arrivedLive);
  });
  for (const [from, to] of gaps) row(from, `${W.clock(from * 1e3, zone)} ${W.w.to} ${W.clock(to * 1e3, zone)}`, columns.map(() => W.w.noDataCell), W.w.arrivedGap);
  rows.sort((a, b) => a[0] - b[0]);
  return h("div", { class: "scroll" }, h("table", { class: "hours" }, h("caption", { class: "vh" }, W.w.tableCaption),
    h("thead", null, h("tr", null, [W.w.time, W.w.sun, W.w.house, W.w.grid, W.w.charge, W.w.arrived].map(name => h("th", { scope: "col" }, name)))),
    h("tbody", null, rows.map(each => each[1]))));
}

const ORDER = ["pv_power", "consumption_power", "battery_power", "battery_soc", "grid_power", "generator_power", "battery_voltage", "battery_current", "battery_temperature"];

function inWords(quantity, p) {
  const text = W.amount(quantity, p.unit, p.value, `v-${quantity}`);
  const words = { battery_power: [W.w.chargingWord, W.w.dischargingWord], battery_current: [W.w.chargingWord, W.w.dischargingWord], grid_power: [W.w.importWord, W.w.feedInWord] }[quantity.replace(/_l\d/, "")];
  const least = p.unit === "A" ? 0.05 : 1;
  const plain = words && p.unit === "A" ? W.amount(quantity, p.unit, Math.abs(p.value)) : text;
  return words && Math.abs(p.value) >= least ? `${plain} ${words[p.value < 0 ? 1 : 0]}` : plain;
}

function valuesCard(home) {
  const names = Object.keys(home.held || home.values), listed = [...ORDER.filter(q => names.includes(q)), ...names.filter(q => !ORDER.includes(q)).sort()];
  const head = [W.w.value, lost() ? W.w.at(W.clockSeconds(lastHeard(), home.zone)) : W.w.now, lost() ? W.w.readAt : W.w.age, W.w.takenFrom, W.w.alsoBy];
  return h("section", { class: "card c-values", "aria-labelledby": "values" },
    h("header", null, h("h2", { id: "values", tabindex: "-1" }, W.w.values)),
    h("table", { class: "values", role: "table" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head.map(name => h("th", { scope: "col", role: "columnheader" }, name)))),
      h("tbody", { role: "rowgroup" }, listed.map(q => {
        const p = present(home, q), others = p.others.map(o => `${W.sourceName(o.source)}: ${W.amount(q, p.unit, o.value)}`).join("; ");
        return h("tr", { role: "row", "data-quantity": q }, h("th", { scope: "row", role: "rowheader" }, W.quantityName(q)),
          h("td", { role: "cell", class: p.stale ? "num quiet" : "num" }, inWords(q, p)),
          h("td", { role: "cell", class: "num" }, p.stale ? aged(lost() ? W.w.staleSince(W.clock(p.time, home.zone)) : W.w.old(ageText(p, home.zone))) : ageText(p, home.zone)),
          h("td", { role: "cell" }, W.sourceName(p.source, true)),
          h("td", { role: "cell", class: others ? "quiet" : "quiet none", "data-label": W.w.alsoBy }, others || h("span", { class: "vh" }, W.w.none)));
      }))));
}

function homePage(home) {
  const flows = flowsOf(home), [text, past] = saying(home, flows);
  document.title = `${home.name}: ${text}`;
  return h("div", { id: "app", class: lost() ? "lost" : "" },
    h("a", { class: "skip", href: "#values", onclick: skip }, W.w.skip), banner(home.zone),
    h("div", { class: "page" }, top(home), h("main", null,
      h("div", { class: "head" }, h("div", null, h("h1", null, text), h("p", { class: "lead" }, past ? W.lastKnown(flows) : W.lead(flows))), alarmBox(home)),
      h("div", { class: "cards" }, powerCard(home, flows), batteryCard(home, flows), todayCard(home), chartCard(home), valuesCard(home)))));
}

function skip(event) {
  event.preventDefault();
  document.getElementById(event.currentTarget.getAttribute("href").slice(1))?.focus();
}

// --- many homes --------------------------------------------------------------------------------------------

const STATES = ["offline", "stale", "alarm", "low", "backfilling", "fine"];

function judge(home) {
  const newest = home.newest ? Date.parse(home.newest) : 0, silent = newest ? (now() - newest) / 1000 : 0;
  const devices = home.sources.filter(each => each.source[2] !== "*"), down = home.sources.filter(each => ["disconnected", "failed", "auth_failed", "closed"].includes(each.state));
  const flows = flowsOf(home), soc = present(home, "battery_soc"), capacity = home.battery?.capacity_wh;
  const since = list => list.length ? (now() - Math.min(...list.map(each => Date.parse(each.since)))) / 1000 : silent;
  const filling = home.sources.find(each => each.state === "backfilling" && each.backfill_s > 60);
  if (newest && silent > 3600 || (down.length && down.length >= devices.length && silent > 60)) return ["offline", Math.max(silent, since(down)), W.w.forTime(W.duration(silent))];
  if (newest && silent > STALE_S || (devices.length && devices.every(each => each.state === "stale"))) return ["stale", silent, W.w.noReading(W.duration(silent))];
  if (home.alarms.length) return ["alarm", (now() - Date.parse(home.alarms[0].since)) / 1000, home.alarms[0].text];
  if (soc && !soc.stale && soc.value < 15 && flows.battery?.fresh && flows.battery.watts < 50) {
    const seconds = capacity && flows.battery.watts < -50 ? soc.value / 100 * capacity / -flows.battery.watts * 3600 : Infinity;
    return ["low", 100 - soc.value, seconds < 86400 ? W.w.emptyIn(W.roundedDuration(seconds)) : W.percent(soc.value)];
  }
  if (filling) return ["backfilling", filling.backfill_s, W.w.fetched(W.duration(filling.backfill_s), W.percent((filling.backfilled || 0) * 100))];
  return ["fine", 0, ""];
}

// A row moves after ten seconds in its new state, and never under the pointer or the focus: until then it is sorted
// by its old state, and by how bad that was when it was last seen.
function settled(home, found) {
  const row = view.rows.get(home.id) || view.rows.set(home.id, { state: found[0], next: found[0], weight: found[1], at: 0 }).get(home.id);
  if (row.next !== found[0]) Object.assign(row, { next: found[0], at: Date.now() });
  const table = document.querySelector(".fleet");
  const busy = table && (table.matches(":hover") || table.contains(document.activeElement));
  if (row.state !== row.next && Date.now() - row.at >= 10000 && !busy) row.state = row.next;
  if (row.state === found[0]) row.weight = found[1];
  return row;
}

const COLUMNS = ["state", "name", "charge", "sun", "self", "newest"];

function fleetPage() {
  const rows = store.homes.map(home => {
    const found = judge(home);
    return { home, found, settled: settled(home, found), soc: present(home, "battery_soc"), pv: present(home, "pv_power") };
  });
  const count = state => rows.filter(row => row.found[0] === state).length, bad = rows.length - count("fine") - count("backfilling");
  const parts = STATES.slice(0, 4).filter(count).map(state => W.w.parts[state](count(state)));
  const [column, direction] = view.sort;
  const order = { state: row => [STATES.indexOf(row.settled.state), -row.settled.weight], name: row => [0, 0], charge: row => [row.soc ? row.soc.value : 999, 0], sun: row => [row.pv ? -row.pv.value : 1, 0],
    self: row => [row.home.today?.self_sufficiency ?? 9, 0], newest: row => [row.home.newest ? Date.parse(row.home.newest) : 0, 0] }[column];
  rows.sort((a, b) => {
    const x = order(a), y = order(b);
    return direction * (x[0] - y[0] || x[1] - y[1]) || direction * (column === "name" ? 1 : direction) * a.home.name.localeCompare(b.home.name, W.lang);
  });
  const shown = view.filter === "all" ? rows : rows.filter(row => row.found[0] === view.filter);
  const title = !rows.length ? W.w.noHomes : bad ? W.w.attention(bad, rows.length) : W.w.allFine(rows.length);
  document.title = title;
  const chip = state => h("button", { type: "button", "aria-pressed": String(view.filter === state), onclick: () => (view.filter = state, draw()) }, W.w.states[state], " ", h("b", null, W.number(state === "all" ? rows.length : count(state))));
  const head = (name, i) => h("th", { scope: "col", role: "columnheader", "aria-sort": column === COLUMNS[i] ? (direction > 0 ? "ascending" : "descending") : false },
    h("button", { class: "sort", type: "button", onclick: () => (view.sort = [COLUMNS[i], column === COLUMNS[i] ? -direction : 1], draw()) }, name, column === COLUMNS[i] ? icon(direction > 0 ? "down" : "up") : null));
  return h("div", { id: "app", class: lost() ? "lost" : "" },
    h("a", { class: "skip", href: "#list", onclick: skip }, W.w.skipList), banner(Intl.DateTimeFormat().resolvedOptions().timeZone),
    h("div", { class: "page" }, top(null), h("main", null,
      h("div", { class: "head" }, h("div", null, h("h1", null, title), h("p", { class: "lead" }, rows.length ? parts.length ? parts.join(", ") + "." : "" : W.w.noHomesLead))),
      rows.length ? [
        h("div", { class: "tools" }, h("div", { class: "chips", role: "group", "aria-label": W.w.filter }, ["all", ...STATES].map(chip)), column === "state" ? h("p", { class: "quiet" }, W.w.sorted) : null),
        h("div", { class: "fleet" }, h("table", { id: "list", role: "table", tabindex: "-1" }, h("caption", { class: "vh" }, W.w.listCaption),
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, W.w.cols.map(head))), h("tbody", { role: "rowgroup" }, shown.map(fleetRow))))] : null)));
}

function fleetRow({ home, found, soc, pv }) {
  const [state, , note] = found, old = state === "offline" || state === "stale", flows = flowsOf(home), [text] = saying(home, flows);
  const age = home.newest ? W.age((now() - Date.parse(home.newest)) / 1000, now(), home.zone) : W.w.notKnown;
  const values = store.sparks.get(home.id) || [], self = home.today?.self_sufficiency;
  return h("tr", { role: "row", class: old ? "old" : "", "data-home": home.id },
    h("td", { role: "cell" }, h("div", { class: `state st-${state}` }, icon(state === "alarm" ? "alarm" : state), h("div", null, W.w.states[state], note ? h("small", null, note) : null))),
    h("th", { scope: "row", role: "rowheader" }, h("a", { class: "site", href: `#/home/${encodeURIComponent(home.id)}` }, home.name), h("p", { class: "say" }, text)),
    h("td", { role: "cell" }, soc ? h("span", { class: "lvl" }, s("svg", { "aria-hidden": "true" }, s("rect", { class: "tr", width: 56, height: 8, rx: 2 }), s("rect", { class: "a-battery", width: (soc.value * 0.56).toFixed(1), height: 8, rx: 2 })), W.percent(soc.value)) : h("span", { class: "none" }, W.w.noBattery)),
    h("td", { role: "cell" }, pv || values.length ? sparkline(values, home.peak_w) : h("span", { class: "none" }, W.w.noSun)),
    h("td", { role: "cell", class: "today" }, typeof self === "number" && state !== "offline" ? W.percent(self * 100) : h("span", { class: "none" }, W.w.notKnown)),
    h("td", { role: "cell" }, old ? aged(age) : h("span", { class: "quiet" }, age)));
}

// --- the whole ---------------------------------------------------------------------------------------------

function route() {
  const match = /^#\/home\/([^/]+)$/.exec(location.hash);
  try {
    return match ? decodeURIComponent(match[1]) : "";
  } catch {
    return "";
  }
}

function draw() {
  if (document.hidden || !store.loaded) return;
  document.documentElement.lang = W.lang;
  const home = store.homes.find(each => each.held && (store.count === 1 || each.id === route()));
  patch(app2(), home ? homePage(home) : fleetPage());
  const place = document.getElementById("plot");
  if (view.chart && view.chart.element !== place) {
    view.chart.close();
    view.chart = null;
  }
  if (place && store.history && window.uPlot) {
    view.chart ??= new Chart(place);
    const stamp = `${store.history.times.at(-1)}/${W.lang}/${lost()}/${store.historyAt}`;
    if (view.chart.stamp !== stamp || view.chart.source !== store.history) {
      Object.assign(view.chart, { stamp, source: store.history });
      view.chart.show(store.history, home.zone, lost());
    }
  }
}

const app2 = () => document.getElementById("app");

// One polite sentence for a change of state, at most one in five seconds.
const spoken = { at: 0, last: "", known: new Map() };
function say(text) {
  const wait = Math.max(0, spoken.at + 5000 - Date.now());
  spoken.last = text;
  soon("say", () => {
    announcer.textContent = spoken.last;
    spoken.at = Date.now();
  }, wait);
}

function notice() {
  for (const home of store.homes) {
    const state = judge(home)[0], before = spoken.known.get(home.id);
    if (before && before !== state) {
      if (state === "stale" || state === "offline") say(W.w.says.stale(home.name));
      else if (state === "alarm") say(W.w.says.alarm(home.name, home.alarms[0].text));
      else if (before === "backfilling") say(W.w.says.backfilled(home.name));
    }
    spoken.known.set(home.id, state);
  }
}

let wasLost = false;
setInterval(() => {
  if (link.open && Date.now() - link.heard > SILENT_MS) drop();
  if (lost() && !wasLost) say(W.w.says.lost);
  wasLost = lost();
  document.documentElement.classList.toggle("still", wasLost || document.hidden || calm.matches);
  draw();
}, 1000);
setInterval(() => link.open && !document.hidden && soon("state", load, 500), 30000);
setInterval(() => link.open && !document.hidden && store.homes.some(home => home.sources.some(each => each.state === "backfilling")) && (load(), loadHistory()), 3000);
setInterval(() => link.open && store.count > 1 && !route() && !document.hidden && soon("state", load, 500), 5000);
setInterval(() => link.open && !document.hidden && soon("history", loadHistory, 500), 60000);
addEventListener("hashchange", () => (store.history = null, load()));
addEventListener("resize", () => soon("draw", draw, 150));
document.addEventListener("visibilitychange", () => document.hidden || load());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (view.chart && (view.chart.source = null), draw()));

load().then(connect);
