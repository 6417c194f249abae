// Draws the charts that shared/charts.py describes, in the page's colours, with a table of the same numbers behind.

const language = document.documentElement.lang;
const drawn = new Map(); // figure → {instance, data}
let library;

const loadLibrary = () => {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.querySelector("script[data-echarts]").dataset.echarts;
    script.onload = () => resolve(window.echarts);
    script.onerror = reject;
    document.head.append(script);
  });
  return library;
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const write = (value, decimals = 1) =>
  value === null || value === undefined ? "–" : new Intl.NumberFormat(language, { maximumFractionDigits: decimals, minimumFractionDigits: decimals }).format(value);
const when = (ms, zone, withDay) =>
  new Date(ms).toLocaleString(language, { timeZone: zone, hour12: false, hour: "2-digit", minute: "2-digit", ...(withDay ? { month: "short", day: "numeric" } : {}) });

// Midnights in the chart's zone are the marks that matter; ECharts would put them in the reader's zone.
// Over more than three days the browser's own midnights, where the ticks lie, are no hour worth naming: the day is.
const zonedLabel = (data) => (ms) => {
  const clock = when(ms, data.zone, false);
  const isLong = data.x.values.at(-1) - data.x.values[0] > 3 * 86_400_000;
  return isLong || clock.startsWith("00:00") || clock.startsWith("24:00")
    ? new Date(ms).toLocaleDateString(language, { timeZone: data.zone, month: "short", day: "numeric" })
    : clock;
};

// Room for names at the end of their lines: a Chinese character is as wide as the type is high, a Latin one about half.
const labelRoom = (named) => {
  const width = (name) => [...name].reduce((sum, character) => sum + (character > "\u2e80" ? 12 : 6.8), 12);
  return Math.min(220, Math.max(24, ...named.map((one) => width(one.name))));
};

const seriesOption = (series, index, data) => {
  const tint = colour(series.colour ?? `cat-${(index % 8) + 1}`);
  const points = data.x.kind === "time" ? series.values.map((value, i) => [data.x.values[i], value]) : series.values;
  const shared = { name: series.name, data: points, itemStyle: { color: tint }, emphasis: { focus: "series" }, animationDuration: 300 };
  if (series.style === "bar") {
    return { ...shared, type: "bar", stack: data.stacked ? "all" : undefined, barMaxWidth: 28, itemStyle: { color: tint, borderRadius: data.stacked ? 0 : 2, decal: undefined } };
  }
  if (series.style === "band-low" || series.style === "band-high") {
    return { ...shared, type: "line", stack: "band", stackStrategy: "all", symbol: "none", silent: true, lineStyle: { width: 0 }, areaStyle: series.style === "band-high" ? { color: tint, opacity: 0.16 } : undefined, tooltip: { show: false } };
  }
  return {
    ...shared, type: "line", step: series.style === "step" ? "end" : false, symbol: "circle", symbolSize: 5, showSymbol: false, connectNulls: false,
    lineStyle: { width: series.style === "thin" ? 1 : 1.75, color: tint, type: series.style === "dashed" ? "dashed" : "solid" },
    areaStyle: series.style === "area" ? { color: tint, opacity: 0.12 } : undefined,
    endLabel: data.direct_labels ? { show: true, formatter: "{a}", color: tint, fontSize: 12, distance: 4 } : undefined,
    labelLayout: { moveOverlap: "shiftY" },
  };
};

// The axis reaches every limit: a line that nobody sees warns nobody.
const withLimits = (data) => {
  const values = (data.limits ?? []).map((limit) => limit.value);
  if (!values.length) return {};
  const max = (range) => Math.ceil(Math.max(range.max, ...values));
  return data.from_zero === false ? { min: (range) => Math.floor(Math.min(range.min, ...values)), max } : { max };
};
const limitLines = (data) => ({
  silent: true, symbol: "none", animation: false,
  label: { position: "insideEndTop", color: colour("muted"), fontSize: 12, formatter: (mark) => mark.name },
  lineStyle: { color: colour("muted"), type: "dashed", width: 1 },
  data: (data.limits ?? []).map((limit) => ({ name: `${limit.name} ${write(limit.value, data.decimals)} ${data.unit}`, yAxis: limit.value })),
});

const cartesian = (data) => {
  const muted = colour("muted");
  const series = data.series.map((one, index) => seriesOption(one, index, data));
  if (series.length && data.limits?.length) series[0].markLine = limitLines(data);
  const named = data.series.filter((one) => !one.style?.startsWith("band-"));
  const category = { type: "category", data: data.x.values, axisTick: { show: false } };
  const time = { type: "time", min: data.x.from ?? undefined, max: data.x.to ?? undefined, axisLabel: { formatter: zonedLabel(data) } };
  const across = { axisLine: { lineStyle: { color: colour("line-strong") } }, ...(data.x.kind === "time" ? time : category) };
  across.axisLabel = { color: muted, fontSize: 12, hideOverlap: true, ...(across.axisLabel ?? {}) };
  const up = {
    type: "value", name: data.unit, nameTextStyle: { color: muted, align: "left", padding: [0, 0, 0, -24] }, scale: data.from_zero === false, splitNumber: 4, ...withLimits(data),
    axisLabel: { color: muted, fontSize: 12 }, splitLine: { lineStyle: { color: colour("line") } },
  };
  return {
    grid: { left: 8, right: data.direct_labels ? labelRoom(named) : 16, top: named.length > 1 && !data.direct_labels ? 56 : 32, bottom: 4, containLabel: true },
    legend: named.length > 1 && !data.direct_labels ? { data: named.map((one) => one.name), type: "scroll", top: 0, right: 0, left: 64, itemWidth: 12, itemHeight: 8, textStyle: { color: colour("text"), fontSize: 12 } } : undefined,
    xAxis: data.horizontal ? up : across, yAxis: data.horizontal ? { ...across, inverse: true } : up, series,
    tooltip: {
      trigger: "axis", confine: true, backgroundColor: colour("surface"), borderColor: colour("line"), textStyle: { color: colour("text"), fontSize: 12 },
      axisPointer: { type: "line", lineStyle: { color: colour("line-strong") } },
      formatter: (items) => {
        const head = data.x.kind === "time" ? when(items[0].value[0], data.zone, true) : items[0].name;
        const lines = items.filter((i) => !data.series[i.seriesIndex].style?.startsWith("band-"))
          .map((i) => `${i.marker}${escape(i.seriesName)} <b>${write(Array.isArray(i.value) ? i.value[1] : i.value, data.decimals)}</b> ${escape(data.unit)}`);
        return [escape(head), ...lines].join("<br>");
      },
    },
  };
};

const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

const heat = (data) => ({
  grid: { left: 8, right: 16, top: 8, bottom: 40, containLabel: true },
  xAxis: { type: "category", data: data.x.values, axisLabel: { color: colour("muted"), fontSize: 12, hideOverlap: true }, axisTick: { show: false } },
  yAxis: { type: "category", data: data.y, inverse: true, axisLabel: { color: colour("muted"), fontSize: 12 }, axisTick: { show: false } },
  visualMap: { min: 0, max: Math.max(...data.cells.map((c) => c[2] ?? 0), 1), calculable: false, orient: "horizontal", left: "center", bottom: 0, itemHeight: 160, itemWidth: 8, textStyle: { color: colour("muted") }, inRange: { color: [colour("sunken"), colour("accent")] } },
  tooltip: { confine: true, formatter: (i) => `${escape(data.y[i.value[1]])} ${escape(data.x.values[i.value[0]])}<br><b>${write(i.value[2], data.decimals)}</b> ${escape(data.unit)}` },
  series: [{ type: "heatmap", data: data.cells }],
});

const sankey = (data, width) => ({
  tooltip: { confine: true, formatter: (i) => `${escape(i.name.replace(">", "→"))}<br><b>${write(i.value, data.decimals)}</b> ${escape(data.unit)}` },
  series: [{
    type: "sankey", left: 8, right: width < 600 ? 96 : 152, top: 8, bottom: 8, nodeWidth: 12, nodeGap: 10, draggable: false, emphasis: { focus: "adjacency" },
    data: data.nodes.map((node, i) => ({ name: node.name, itemStyle: { color: colour(node.colour ?? `cat-${(i % 8) + 1}`) } })),
    links: data.links, lineStyle: { color: "target", opacity: 0.28, curveness: 0.5 }, label: { color: colour("text"), fontSize: 12, width: width < 600 ? 88 : 144, overflow: "truncate" },
  }],
});

const KINDS = { cartesian, heat, sankey };

// Built with the DOM, never with markup: names come from people.
const table = (data) => {
  const element = document.createElement("table");
  const row = (cells, tag) => {
    const tr = document.createElement("tr");
    cells.forEach((cell, i) => {
      const td = document.createElement(i === 0 ? "th" : tag);
      td.scope = i === 0 && tag === "td" ? "row" : "col";
      if (i > 0) td.className = "num";
      td.textContent = cell;
      tr.append(td);
    });
    element.append(tr);
  };
  if (data.kind === "sankey") {
    row(["", data.unit], "th");
    data.links.forEach((link) => row([`${link.source} → ${link.target}`, write(link.value, data.decimals)], "td"));
  } else if (data.kind === "heat") {
    row(["", data.unit], "th");
    data.cells.forEach(([x, y, value]) => row([`${data.y[y]} ${data.x.values[x]}`, write(value, data.decimals)], "td"));
  } else {
    row(["", ...data.series.map((one) => `${one.name} (${data.unit})`)], "th");
    data.x.values.forEach((x, i) => row([data.x.kind === "time" ? when(x, data.zone, true) : x, ...data.series.map((one) => write(one.values[i], data.decimals))], "td"));
  }
  return element;
};

const isEmpty = (data) =>
  data.kind === "sankey" ? !data.links.length : data.kind === "heat" ? !data.cells.length : !data.series.some((one) => one.values.some((value) => value !== null));

const draw = async (figure) => {
  const message = figure.querySelector(".chart-message");
  try {
    const [echarts, answer] = await Promise.all([loadLibrary(), fetch(figure.dataset.chart, { headers: { Accept: "application/json" } })]);
    if (!answer.ok) throw new Error(answer.statusText);
    const data = await answer.json();
    const canvas = figure.querySelector(".chart-canvas");
    const state = drawn.get(figure) ?? { instance: echarts.init(canvas, null, { renderer: "svg" }) };
    state.data = data;
    drawn.set(figure, state);
    message.hidden = !isEmpty(data);
    message.textContent = message.dataset.empty;
    canvas.hidden = isEmpty(data);
    state.instance.setOption({ textStyle: { fontFamily: getComputedStyle(document.body).fontFamily }, ...KINDS[data.kind](data, canvas.clientWidth) }, true);
    figure.querySelector(".chart-table > div").replaceChildren(table(data));
    figure.dataset.ready = "true";
  } catch (error) {
    console.warn("chart", figure.dataset.chart, error);
    message.hidden = false;
    message.textContent = message.dataset.failed;
  }
};

const resizing = new ResizeObserver((entries) => entries.forEach((entry) => drawn.get(entry.target.closest("[data-chart]"))?.instance.resize()));

export const drawCharts = (root) => {
  for (const figure of root.querySelectorAll?.("[data-chart]") ?? []) {
    if (figure.dataset.started) continue;
    figure.dataset.started = "true";
    draw(figure);
    resizing.observe(figure.querySelector(".chart-canvas"));
    const every = Number(figure.dataset.refreshS);
    if (every) setInterval(() => document.visibilityState === "visible" && draw(figure), every * 1000);
  }
};

export const refreshCharts = () => {
  for (const [figure, { instance, data }] of drawn) if (figure.isConnected && data) instance.setOption(KINDS[data.kind](data, instance.getWidth()), true);
};
