// What HTML alone cannot do: values that move, ages that grow, charts. Pages work without it.
import { drawCharts, refreshCharts } from "./charts.js";

const language = document.documentElement.lang;
const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
const UNITS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

// --- Time. The server's clock counts, not the reader's: a stream begins with the server's time.
let clockOffsetMs = 0;
const nowMs = () => Date.now() + clockOffsetMs;

const ago = (seconds) => {
  const [size, unit] = UNITS.find(([size]) => seconds >= size) ?? UNITS[3];
  return relative.format(-Math.max(0, Math.floor(seconds / size)), unit);
};

// --- Live values: an element shows the sum of its points; it is as old as its oldest point.
const numberFormats = new Map();
const write = (value, decimals) => {
  if (!numberFormats.has(decimals)) {
    numberFormats.set(decimals, new Intl.NumberFormat(language, { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
  }
  return numberFormats.get(decimals).format(value);
};

const liveState = new WeakMap(); // element → Map(point → {value, atMs})
const stateOf = (element) => {
  if (!liveState.has(element)) liveState.set(element, new Map(Object.entries(JSON.parse(element.dataset.values || "{}"))));
  return liveState.get(element);
};

const show = (element) => {
  const values = [...stateOf(element).values()];
  const points = element.dataset.points.split(" ").filter(Boolean);
  const known = values.filter(([value]) => value !== null);
  const figure = element.querySelector("[data-figure]");
  const complete = known.length === points.length && points.length > 0;
  const text = complete ? write(known.reduce((sum, [value]) => sum + value, 0) * Number(element.dataset.factor), Number(element.dataset.decimals)) : "–";
  if (figure.textContent !== text) figure.textContent = text;
  element.dataset.at = values.length ? Math.min(...values.map(([, at]) => at)) : "";
  showAge(element);
};

// Bars compare the lines of one list; a limit marks a value with a word as well as a colour.
const amountOf = (element) => {
  const values = [...stateOf(element).values()];
  return values.length && values.every(([value]) => value !== null) ? values.reduce((sum, [value]) => sum + value, 0) * Number(element.dataset.factor) : null;
};
const compare = () => {
  for (const list of document.querySelectorAll("[data-bars]")) {
    const lines = [...list.children].map((line) => [line, amountOf(line.querySelector("[data-points]")) ?? 0]);
    const most = Math.max(...lines.map(([, amount]) => amount), 1e-9);
    for (const [line, amount] of lines) line.querySelector(".bar > span").style.width = `${Math.max(0, (100 * amount) / most)}%`;
  }
  for (const element of document.querySelectorAll("[data-high]")) {
    element.classList.toggle("is-high", (amountOf(element.querySelector("[data-points]")) ?? 0) >= Number(element.dataset.high));
  }
};

const showAge = (element) => {
  const at = Number(element.dataset.at);
  const age = at ? (nowMs() - at) / 1000 : Infinity;
  const stale = age > Number(element.dataset.staleAfterS);
  element.classList.toggle("stale", stale);
  const word = element.querySelector("[data-age]");
  if (word) word.textContent = stale && at ? ago(age) : "";
};

const receiveValues = (message) => {
  if (message.now_ms) clockOffsetMs = message.now_ms - Date.now();
  const changed = new Map(message.values.map((row) => [String(row.point), row]));
  for (const element of document.querySelectorAll("[data-points]")) {
    let touched = false;
    for (const point of element.dataset.points.split(" ")) {
      const news = changed.get(point);
      if (!news) continue;
      stateOf(element).set(point, [news.quality <= 1 ? news.value : null, news.at_ms]);
      touched = true;
    }
    if (touched) show(element);
  }
  compare();
  document.dispatchEvent(new CustomEvent("live:values", { detail: message }));
};

// The hidden element with sse-swap="values" receives the stream; nothing is swapped.
document.addEventListener("htmx:sseBeforeMessage", (event) => {
  if (event.detail.type !== "values") return;
  event.preventDefault();
  receiveValues(JSON.parse(event.detail.data));
});

let openedBefore = false;
document.addEventListener("htmx:sseOpen", () => {
  document.body.classList.remove("disconnected");
  // After an interruption something was missed: every live fragment is fetched anew.
  if (openedBefore) for (const part of document.querySelectorAll("[hx-trigger*='sse:']")) htmx.trigger(part, "sse:resync");
  openedBefore = true;
});
document.addEventListener("htmx:sseError", () => document.body.classList.add("disconnected"));

const tick = () => {
  for (const element of document.querySelectorAll("[data-points]")) showAge(element);
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const seconds = (nowMs() - Date.parse(element.dateTime)) / 1000;
    if (seconds < 7 * 86400) element.textContent = ago(seconds);
  }
  for (const element of document.querySelectorAll("time[data-clock]")) {
    element.textContent = new Date(nowMs()).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hour12: false, timeZone: element.dataset.clock });
  }
};

// --- Small things
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-switch]")) return;
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  refreshCharts();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refreshCharts);

const toast = (text) => {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { element.hidden = true; }, 8000);
};
document.addEventListener("htmx:responseError", (event) => {
  const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  toast(page.querySelector("main p:not(.muted)")?.textContent || page.querySelector("h1")?.textContent || event.detail.xhr.statusText);
});

// A table that does not fit a narrow screen shows each row as a block: its name, then every cell below its column's.
const narrow = matchMedia("(max-width: 640px)");
const COLUMNS_MAX = 14;
const rowsOf = (table) => [...table.tBodies, table.tFoot].filter(Boolean).flatMap((part) => [...part.rows]);
const canStack = (table) => {
  const columns = table.tHead?.rows.length === 1 ? table.tHead.rows[0].cells : [];
  return columns.length > 1 && columns.length <= COLUMNS_MAX && !table.closest(".chart-table") && !table.querySelector("[rowspan], tbody svg.plan");
};
const widthOf = (text) => text.length + (text.match(/[\u2e80-\uffff]/g)?.length ?? 0); // A Chinese character is two wide.
const labelCells = (table) => {
  const labels = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  for (const row of rowsOf(table)) {
    let column = 0;
    for (const cell of row.cells) {
      const isRowName = cell.tagName === "TH" || cell.colSpan > 1;
      if (!isRowName && !cell.querySelector("button")) cell.dataset.label = labels[column];
      cell.classList.toggle("wide", isRowName || widthOf(cell.textContent.trim()) > 22 || cell.querySelector("form") !== null);
      cell.classList.toggle("blank", ["", "–"].includes(cell.textContent.trim()) && cell.children.length === 0);
      column += cell.colSpan;
    }
  }
};
const stackTables = () => {
  for (const table of document.querySelectorAll(".table-wrap > table")) {
    const wrap = table.parentElement;
    table.classList.remove("stacked");
    const fits = wrap.scrollWidth <= wrap.clientWidth + 1 && !table.classList.contains("cards");
    if (!narrow.matches || fits || !canStack(table)) continue;
    labelCells(table);
    table.classList.add("stacked");
  }
};
narrow.addEventListener("change", stackTables);
document.addEventListener("toggle", stackTables, true); // A table in a folded part has no width until it is opened.
document.addEventListener("htmx:afterSettle", stackTables);
document.fonts.ready.then(stackTables);

// The menu is open on wide screens and folded on narrow ones.
const wide = matchMedia("(min-width: 861px)");
const foldMenu = () => { for (const menu of document.querySelectorAll("[data-open-wide]")) menu.open = wide.matches; };
wide.addEventListener("change", foldMenu);
foldMenu();
for (const element of document.querySelectorAll("[data-points]")) show(element);
compare();
tick();
setInterval(tick, 1000);
document.addEventListener("htmx:afterSwap", tick);
document.addEventListener("htmx:afterSettle", (event) => drawCharts(event.target));
drawCharts(document);
