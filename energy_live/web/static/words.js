// Words, numbers and sentences of the page, in English and German. No DOM here.

export const NB = "\u00a0";

const WORDS = {
  en: {
    homes: "Homes", other: "Deutsch", otherLang: "de",
    live: n => `Live, ${n} ${n === 1 ? "source" : "sources"}`,
    liveOf: (n, all) => `Live, ${n} of ${all} sources`,
    connecting: "Connecting", notConnected: "Not connected",
    lost: s => `Connection lost ${s} ago.`, lostFrom: t => ` Everything below is from ${t}.`,
    next: s => ` Next try in ${s}.`, tryingNow: " Trying now.", tryNow: "Try now",
    skip: "Skip to the table of values", skipList: "Skip to the list", connection: "Connection",
    powerNow: "Power now", powerAt: t => `Power at ${t}`,
    fromSun: "From the sun", toGrid: "To the grid", fromGrid: "From the grid", toHouse: "To the house",
    toBattery: "To the battery", fromBattery: "From the battery", generator: "Generator",
    fromGenerator: "From the generator",
    sun: "Sun", house: "House", grid: "Grid", battery: "Battery", charge: "Charge",
    notKnown: "not known", old: a => `${a} old`, staleSince: t => `stale since ${t}`,
    fullAt: t => `Full at about ${t}`, emptyAt: t => `Empty at about ${t}`, reserveAt: t => `At the reserve at about ${t}`,
    inTime: (d, p) => `in ${d} at ${p}`, full: "Full", idle: "Neither charging nor discharging",
    charging: p => `charging at ${p}`, discharging: p => `discharging at ${p}`,
    wasCharging: p => `was charging at ${p}`, wasDischarging: p => `was discharging at ${p}`,
    chargeAt: (v, t) => `${v} at ${t}`, reserve: v => `reserve ${v}`,
    ring: v => `Charged to ${v} percent`, ringReserve: v => `; reserve at ${v} percent`,
    today: "Today", missing: d => `${d} missing`, until: t => `until ${t}`, selfSufficient: "self-sufficient",
    in: "In", out: "Out", fromBatteryKwh: "From battery", fromGridKwh: "From grid", toBatteryKwh: "To battery",
    toGridKwh: "To grid", losses: "Losses", notBalanced: "not balanced", notMeasured: "Nothing measured yet today",
    last24: "Last 24 hours", chargeFrom: s => `charge: ${s}`,
    gridLegend: "Grid: import above, feed-in below 0", backfilled: "Backfilled", noData: "No data",
    noDataFor: d => `No data, ${d}`, missingWord: "Missing", to: "to", yesterday: "yesterday",
    fetchedAt: t => `fetched at ${t}.`, asTable: "Show the chart as a table",
    tableCaption: "Last 24 hours, every three hours, gaps included", time: "Time", arrived: "How it arrived",
    arrivedLive: "live", arrivedBackfilled: "backfilled", arrivedGap: "gap, reported", noDataCell: "no data",
    feedIn: p => `feed-in ${p}`, importing: p => `import ${p}`,
    values: "Every value, its age and its source", value: "Value", now: "Now", at: t => `At ${t}`, age: "Age",
    readAt: "Read at", takenFrom: "Taken from", alsoBy: "Also reported by", none: "none",
    chargingWord: "charging", dischargingWord: "discharging", importWord: "import", feedInWord: "feed-in",
    alarm: "Alarm:", since: (t, d) => d ? `since ${t} (${d})` : `since ${t}`, sinceLost: (t, l) => `since ${t}, last known at ${l}`,
    more: n => `${n} more`, noHomes: "No home has reported anything yet",
    noHomesLead: "As soon as a source delivers its first reading, its home appears here.",
    attention: (n, all) => `${n} of ${all} homes ${n === 1 ? "needs" : "need"} attention`,
    allFine: n => n === 1 ? "The home is fine" : `All ${n} homes are fine`,
    parts: { offline: n => n === 1 ? "1 is offline" : `${n} are offline`, stale: n => n === 1 ? "1 is stale" : `${n} are stale`,
      alarm: n => n === 1 ? "1 reports an alarm" : `${n} report alarms`, low: n => n === 1 ? "1 has a low battery" : `${n} have a low battery`,
      backfilling: n => n === 1 ? "1 is backfilling" : `${n} are backfilling` },
    states: { all: "All", offline: "Offline", stale: "Stale", alarm: "Alarm", low: "Low charge", backfilling: "Backfilling", fine: "Fine" },
    sorted: "Sorted by what is wrong, then by how long", filter: "Filter by state", listCaption: "Homes, sorted by what is wrong first",
    cols: ["State", "Home, now", "Charge", "Sun, last 24 hours", "Self-sufficient today", "Newest reading"],
    forTime: a => `for ${a}`, noReading: a => `no reading for ${a}`, emptyIn: d => `empty in about ${d}`,
    fetched: (d, p) => `${d}, ${p} fetched`, noBattery: "no battery", noSun: "no sun panels", zone: z => `time of ${z}`,
    gapReason: (v, r) => ({ not_recorded: `${v} has no record of it.`, export_malformed: `${v}'s record could not be read.`,
      slow_consumer: "this program was too slow.", not_resumable: `${v} keeps no history.`, beyond_cap: "older than what is fetched again.",
      from_the_future: "the device's clock was wrong.", relay_memory: "the relay no longer had it." }[r] || `${v}: ${r}.`),
    says: { lost: "Connection lost", live: "Live again", stale: n => `${n}: stale`, alarm: (n, t) => `${n}: alarm, ${t}`, backfilled: n => `${n}: gap filled` },
  },
  de: {
    homes: "Häuser", other: "English", otherLang: "en",
    live: n => `Live, ${n} ${n === 1 ? "Quelle" : "Quellen"}`,
    liveOf: (n, all) => `Live, ${n} von ${all} Quellen`,
    connecting: "Verbindet", notConnected: "Nicht verbunden",
    lost: s => `Verbindung seit ${s} unterbrochen.`, lostFrom: t => ` Alles unten ist von ${t}.`,
    next: s => ` Nächster Versuch in ${s}.`, tryingNow: " Versucht es gerade.", tryNow: "Jetzt versuchen",
    skip: "Zur Tabelle der Werte", skipList: "Zur Liste", connection: "Verbindung",
    powerNow: "Leistung jetzt", powerAt: t => `Leistung um ${t}`,
    fromSun: "Von der Sonne", toGrid: "Ins Netz", fromGrid: "Aus dem Netz", toHouse: "Ins Haus",
    toBattery: "In die Batterie", fromBattery: "Aus der Batterie", generator: "Generator",
    fromGenerator: "Vom Generator",
    sun: "Sonne", house: "Haus", grid: "Netz", battery: "Batterie", charge: "Ladestand",
    notKnown: "nicht bekannt", old: a => `${a} alt`, staleSince: t => `veraltet seit ${t}`,
    fullAt: t => `Voll gegen ${t}`, emptyAt: t => `Leer gegen ${t}`, reserveAt: t => `Reserve erreicht gegen ${t}`,
    inTime: (d, p) => `in ${d} bei ${p}`, full: "Voll", idle: "Lädt nicht und entlädt nicht",
    charging: p => `lädt mit ${p}`, discharging: p => `entlädt mit ${p}`,
    wasCharging: p => `lud mit ${p}`, wasDischarging: p => `entlud mit ${p}`,
    chargeAt: (v, t) => `${v} um ${t}`, reserve: v => `Reserve ${v}`,
    ring: v => `Zu ${v} Prozent geladen`, ringReserve: v => `; Reserve bei ${v} Prozent`,
    today: "Heute", missing: d => `${d} fehlen`, until: t => `bis ${t}`, selfSufficient: "autark",
    in: "Ein", out: "Aus", fromBatteryKwh: "Aus Batterie", fromGridKwh: "Aus Netz", toBatteryKwh: "In Batterie",
    toGridKwh: "Ins Netz", losses: "Verluste", notBalanced: "nicht ausgeglichen", notMeasured: "Heute noch nichts gemessen",
    last24: "Letzte 24 Stunden", chargeFrom: s => `Ladestand: ${s}`,
    gridLegend: "Netz: Bezug über, Einspeisung unter 0", backfilled: "Nachgeladen", noData: "Keine Daten",
    noDataFor: d => `Keine Daten, ${d}`, missingWord: "Fehlt", to: "bis", yesterday: "gestern",
    fetchedAt: t => `geholt um ${t}.`, asTable: "Als Tabelle zeigen",
    tableCaption: "Letzte 24 Stunden, alle drei Stunden, mit Lücken", time: "Zeit", arrived: "Wie es kam",
    arrivedLive: "live", arrivedBackfilled: "nachgeladen", arrivedGap: "Lücke, gemeldet", noDataCell: "keine Daten",
    feedIn: p => `Einspeisung ${p}`, importing: p => `Bezug ${p}`,
    values: "Jeder Wert, sein Alter und seine Quelle", value: "Wert", now: "Jetzt", at: t => `Um ${t}`, age: "Alter",
    readAt: "Gelesen um", takenFrom: "Stammt von", alsoBy: "Auch gemeldet von", none: "niemandem",
    chargingWord: "Laden", dischargingWord: "Entladen", importWord: "Bezug", feedInWord: "Einspeisung",
    alarm: "Alarm:", since: (t, d) => d ? `seit ${t} (${d})` : `seit ${t}`, sinceLost: (t, l) => `seit ${t}, zuletzt bekannt um ${l}`,
    more: n => `${n} weitere`, noHomes: "Noch hat kein Haus etwas gemeldet",
    noHomesLead: "Sobald eine Quelle den ersten Wert liefert, erscheint ihr Haus hier.",
    attention: (n, all) => `${n} von ${all} Häusern ${n === 1 ? "braucht" : "brauchen"} Aufmerksamkeit`,
    allFine: n => n === 1 ? "Mit dem Haus ist alles in Ordnung" : `Alle ${n} Häuser sind in Ordnung`,
    parts: { offline: n => `${n} offline`, stale: n => `${n} veraltet`, alarm: n => `${n} mit Alarm`,
      low: n => `${n} mit wenig Ladung`, backfilling: n => `${n} wird nachgeladen` },
    states: { all: "Alle", offline: "Offline", stale: "Veraltet", alarm: "Alarm", low: "Wenig Ladung", backfilling: "Lädt nach", fine: "In Ordnung" },
    sorted: "Sortiert nach Problem, dann nach Dauer", filter: "Nach Zustand filtern", listCaption: "Häuser, Probleme zuerst",
    cols: ["Zustand", "Haus, jetzt", "Ladestand", "Sonne, letzte 24 Stunden", "Autark heute", "Neuester Wert"],
    forTime: a => `seit ${a}`, noReading: a => `kein Wert seit ${a}`, emptyIn: d => `leer in etwa ${d}`,
    fetched: (d, p) => `${d}, ${p} geholt`, noBattery: "keine Batterie", noSun: "keine Solaranlage", zone: z => `Zeit von ${z}`,
    gapReason: (v, r) => ({ not_recorded: `${v} hat es nicht aufgezeichnet.`, export_malformed: `Die Aufzeichnung von ${v} war nicht lesbar.`,
      slow_consumer: "dieses Programm war zu langsam.", not_resumable: `${v} speichert nichts.`, beyond_cap: "älter als das, was nachgeladen wird.",
      from_the_future: "die Uhr des Geräts ging falsch.", relay_memory: "das Relay hatte es nicht mehr." }[r] || `${v}: ${r}.`),
    says: { lost: "Verbindung unterbrochen", live: "Wieder live", stale: n => `${n}: veraltet`, alarm: (n, t) => `${n}: Alarm, ${t}`, backfilled: n => `${n}: Lücke gefüllt` },
  },
};

const QUANTITIES = {
  en: { pv_power: "Sun", consumption_power: "House", battery_power: "Battery", battery_soc: "Charge", grid_power: "Grid", generator_power: "Generator",
    battery_voltage: "Battery voltage", battery_current: "Battery current", battery_temperature: "Battery temperature",
    grid_import_energy: "Grid import", grid_export_energy: "Feed-in", pv_energy: "Sun, energy", consumption_energy: "House, energy",
    battery_charge_energy: "Battery, charged", battery_discharge_energy: "Battery, discharged", ev_charger_power: "Car charger", ev_charger_energy: "Car charger, energy" },
  de: { pv_power: "Sonne", consumption_power: "Haus", battery_power: "Batterie", battery_soc: "Ladestand", grid_power: "Netz", generator_power: "Generator",
    battery_voltage: "Batteriespannung", battery_current: "Batteriestrom", battery_temperature: "Batterietemperatur",
    grid_import_energy: "Netzbezug", grid_export_energy: "Einspeisung", pv_energy: "Sonne, Energie", consumption_energy: "Haus, Energie",
    battery_charge_energy: "Batterie, geladen", battery_discharge_energy: "Batterie, entladen", ev_charger_power: "Ladestation", ev_charger_energy: "Ladestation, Energie" },
};
const VENDORS = { vrm: "Victron VRM", voltstorage: "VoltStorage" };

export let lang = "en";
export let w = WORDS.en;

export function setLang(name) {
  lang = name === "de" ? "de" : "en";
  w = WORDS[lang];
}

export function quantityName(q) {
  const part = /^(grid|consumption|pv)_(l\d|ac|dc)_power$/.exec(q);  // one phase, or one side
  return part ? `${QUANTITIES[lang][part[1] + "_power"]} ${part[2].toUpperCase()}` : QUANTITIES[lang][q] || q.replaceAll("_", " ");
}
export const vendorName = v => VENDORS[v] || v;

export function sourceName(source, long) {
  const [vendor, , site, instance] = source;
  const name = vendor === "voltstorage" ? `VoltStorage${long ? "," + (lang === "de" ? " Produkt" : " product") : ""}${NB}${site}` : vendorName(vendor);
  return instance ? `${name}, ${lang === "de" ? "Gerät" : "device"}${NB}${instance}` : name;
}

// --- numbers -------------------------------------------------------------------------------------------

const formats = new Map();
export function number(value, digits = 0) {
  const key = lang + digits;
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(lang === "de" ? "de" : "en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  return formats.get(key).format(Object.is(value, -0) || Math.abs(value) < 10 ** -digits / 2 ? 0 : value);
}

const inKilowatts = new Map();
// Whole watts below 1,000 W, then kW with three digits; `key` remembers the unit, so that it does not flicker.
export function power(watts, key = "") {
  const size = Math.abs(watts);
  const kilo = Math.round(size) >= 1000 || (inKilowatts.get(key) === true && size >= 950);
  if (key) inKilowatts.set(key, kilo);
  if (!kilo) return [number(Math.round(size)), "W"];
  const k = size / 1000;
  return [number(k, k < 9.995 ? 2 : k < 99.95 ? 1 : 0), "kW"];
}
export const powerText = (watts, key) => power(watts, key).join(NB);
export const kwh = value => number(value, Math.abs(value) < 99.95 ? 1 : 0);
export const percent = value => number(Math.round(value)) + NB + "%";

export function amount(quantity, unit, value, key) {
  if (unit === "W") return powerText(value, key);
  if (unit === "%") return percent(value);
  return number(value, 1) + NB + (unit === "degC" ? "°C" : unit);
}

// --- times ---------------------------------------------------------------------------------------------

const clocks = new Map();
function format(zone, kind) {
  const key = lang + zone + kind;
  if (!clocks.has(key)) {
    const options = { time: { hour: "2-digit", minute: "2-digit" }, second: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
      day: { weekday: "short", day: "numeric", month: "long" }, date: { day: "numeric", month: "short", year: "numeric" },
      hour: { hour: "2-digit" }, key: { year: "numeric", month: "2-digit", day: "2-digit" } }[kind];
    clocks.set(key, new Intl.DateTimeFormat(lang === "de" ? "de-DE" : "en-GB", { ...options, hourCycle: "h23", timeZone: zone }));
  }
  return clocks.get(key);
}
export const clock = (ms, zone) => format(zone, "time").format(ms);
export const clockSeconds = (ms, zone) => format(zone, "second").format(ms);
export const day = (ms, zone) => format(zone, "day").format(ms).replace(",", "");
export const date = (ms, zone) => format(zone, "date").format(ms);
export const dayKey = (ms, zone) => format(zone, "key").format(ms);
export function clockOrDay(ms, zone, now) {
  const time = clock(ms, zone);
  if (dayKey(ms, zone) === dayKey(now, zone)) return time;
  return dayKey(ms, zone) === dayKey(now - 864e5, zone) ? `${w.yesterday} ${time}` : `${date(ms, zone)}, ${time}`;
}

export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}${NB}s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes}${NB}min`;
  return `${Math.floor(minutes / 60)}${NB}h${NB}${String(minutes % 60).padStart(2, "0")}${NB}min`;
}
export const age = (seconds, now, zone) => seconds < 172800 ? duration(seconds) : date(now - seconds * 1000, zone);

// Whole steps of 5 minutes, from three hours on of 15.
export function roundedDuration(seconds) {
  const step = seconds < 3 * 3600 ? 300 : 900;
  const minutes = Math.max(step, Math.round(seconds / step) * step) / 60;
  return minutes < 60 ? `${minutes}${NB}min` : `${Math.floor(minutes / 60)}${NB}h` + (minutes % 60 ? `${NB}${minutes % 60}${NB}min` : "");
}

// --- sentences -----------------------------------------------------------------------------------------

const SENTENCES = {
  en: {
    nothing: ["Nothing flows", "nothing flowed"],
    generator: ["The generator supplies the house", "the generator supplied the house"],
    generatorCharges: ["The generator supplies the house and charges the battery", "the generator supplied the house and charged the battery"],
    sunCharges: ["The sun covers the house and charges the battery", "the sun covered the house and charged the battery"],
    sunExports: [n => `The sun covers the house, ${n} to the grid`, "the sun covered the house"],
    sun: ["The sun covers the house", "the sun covered the house"],
    sunBattery: ["Sun and battery supply the house", "sun and battery supplied the house"],
    battery: ["The battery supplies the house", "the battery supplied the house"],
    sunGrid: [n => `Sun and grid supply the house, importing ${n}`, "sun and grid supplied the house"],
    batteryGrid: [n => `Battery and grid supply the house, importing ${n}`, "battery and grid supplied the house"],
    sunBatteryGrid: [n => `Sun, battery and grid supply the house, importing ${n}`, "sun, battery and grid supplied the house"],
    gridCharges: ["The grid supplies the house and charges the battery", "the grid supplied the house and charged the battery"],
    grid: [n => `Importing ${n}`, "the grid supplied the house"],
    rest: [n => `${n} from the sun. The rest is not known`, "the rest was not known"],
    unknown: ["The power is not known", "the power was not known"],
    past: (t, text) => `At ${t} ${text}`,
  },
  de: {
    nothing: ["Es fließt nichts", "floss nichts"],
    generator: ["Der Generator versorgt das Haus", "versorgte der Generator das Haus"],
    generatorCharges: ["Der Generator versorgt das Haus und lädt die Batterie", "versorgte der Generator das Haus und lud die Batterie"],
    sunCharges: ["Die Sonne versorgt das Haus und lädt die Batterie", "versorgte die Sonne das Haus und lud die Batterie"],
    sunExports: [n => `Die Sonne versorgt das Haus, ${n} gehen ins Netz`, "versorgte die Sonne das Haus"],
    sun: ["Die Sonne versorgt das Haus", "versorgte die Sonne das Haus"],
    sunBattery: ["Sonne und Batterie versorgen das Haus", "versorgten Sonne und Batterie das Haus"],
    battery: ["Die Batterie versorgt das Haus", "versorgte die Batterie das Haus"],
    sunGrid: [n => `Sonne und Netz versorgen das Haus, ${n} Bezug`, "versorgten Sonne und Netz das Haus"],
    batteryGrid: [n => `Batterie und Netz versorgen das Haus, ${n} Bezug`, "versorgten Batterie und Netz das Haus"],
    sunBatteryGrid: [n => `Sonne, Batterie und Netz versorgen das Haus, ${n} Bezug`, "versorgten Sonne, Batterie und Netz das Haus"],
    gridCharges: ["Das Netz versorgt das Haus und lädt die Batterie", "versorgte das Netz das Haus und lud die Batterie"],
    grid: [n => `Bezug aus dem Netz: ${n}`, "versorgte das Netz das Haus"],
    rest: [n => `${n} von der Sonne. Der Rest ist nicht bekannt`, "war der Rest nicht bekannt"],
    unknown: ["Die Leistung ist nicht bekannt", "war die Leistung nicht bekannt"],
    past: (t, text) => `Um ${t} ${text}`,
  },
};

// The first row that holds. A flow is {watts, fresh}, or null if no source ever reported it.
// `force` takes stale values too: for what was true at the last moment that is known.
export function situation(flows, force) {
  const of = flow => flow && (flow.fresh || force) ? flow.watts : null;
  const sun = of(flows.sun), grid = of(flows.grid), house = of(flows.house), battery = of(flows.battery), generator = of(flows.generator);
  if (house === null || (flows.grid && grid === null)) return sun === null ? ["unknown"] : ["rest", sun];
  const s = Math.max(0, sun || 0), g = grid || 0, b = battery || 0, gen = Math.max(0, generator || 0);
  if (Math.max(s, Math.abs(g), Math.abs(b), gen, Math.abs(house)) < 1) return ["nothing"];
  const limit = Math.max(30, 0.03 * Math.abs(house)), big = x => x >= limit;
  const charges = big(b), discharges = big(-b), imports = big(g), exports = big(-g);
  if (big(gen)) return [charges ? "generatorCharges" : "generator"];
  if (big(s) && !imports && charges) return ["sunCharges"];
  if (big(s) && !imports && !discharges) return exports ? ["sunExports", -g] : ["sun"];
  if (big(s) && !imports) return ["sunBattery"];
  if (discharges && !imports) return ["battery"];
  if (imports && (big(s) || discharges)) return [big(s) ? discharges ? "sunBatteryGrid" : "sunGrid" : "batteryGrid", g];
  if (imports) return charges ? ["gridCharges"] : ["grid", g];
  return s >= Math.max(-b, g) ? ["sun"] : -b >= g ? ["battery"] : ["grid", g];
}

export function sentence([kind, watts], key) {
  const text = SENTENCES[lang][kind][0];
  return typeof text === "string" ? text : text(powerText(watts, key));
}
export const pastSentence = ([kind], time) => SENTENCES[lang].past(time, SENTENCES[lang][kind][1]);

export function lead(flows) {
  const from = [], into = [];
  const de = lang === "de";
  const add = (list, flow, sign, en, german, key) => {
    if (flow && flow.fresh && flow.watts * sign >= 1) list.push(`${powerText(flow.watts, key)} ${de ? german : en}`);
  };
  add(from, flows.sun, 1, "from the sun", "von der Sonne", "lead-sun");
  add(from, flows.generator, 1, "from the generator", "vom Generator", "lead-gen");
  add(from, flows.battery, -1, "from the battery", "aus der Batterie", "lead-battery");
  add(from, flows.grid, 1, "from the grid", "aus dem Netz", "lead-grid");
  add(into, flows.house, 1, "for the house", "fürs Haus", "lead-house");
  add(into, flows.battery, 1, "into the battery", "in die Batterie", "lead-battery");
  add(into, flows.grid, -1, "to the grid", "ins Netz", "lead-grid");
  if (!from.length && !into.length) return "";
  return (from.length && into.length ? `${from.join(", ")}: ${into.join(", ")}` : [...from, ...into].join(", ")) + ".";
}
export const lastKnown = flows => lang === "de"
  ? `Zuletzt bekannt: ${flows.sun ? powerText(flows.sun.watts, "lead-sun") + " von der Sonne" : "nichts von der Sonne"}. Was jetzt geschieht, ist nicht bekannt.`
  : `Last known: ${flows.sun ? powerText(flows.sun.watts, "lead-sun") + " from the sun" : "nothing from the sun"}. What happens now is not known.`;
