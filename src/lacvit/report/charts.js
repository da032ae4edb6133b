"use strict";
// What the page's scripts share: the data, the inks of the scheme, tiles, and the plain charts.
const PAGE = JSON.parse(document.getElementById("page-data").textContent);
const SYMBOLS = { o: "circle", "^": "triangle-up", s: "square" };
const DASHES = ["solid", "dash", "dot"];
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };
const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

const inks = () => (dark.matches && !printing ? PAGE.inks.dark : PAGE.inks.light);
const ink = (name) => inks()[name];
const armNumber = (arm) => PAGE.arms.indexOf(arm);
const armInk = (arm) => ink(`class-${armNumber(arm) % PAGE.symbols.length}`);
const symbolOf = (number) => SYMBOLS[PAGE.symbols[number % PAGE.symbols.length]];
const small = () => innerWidth < 600;

function layout(more) {
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "ui-sans-serif, system-ui, sans-serif", size: 12, color: ink("muted") },
    margin: { l: 52, r: 12, t: 8, b: 44 },
    showlegend: false,
    hovermode: "closest",
    dragmode: false,
    hoverlabel: { bgcolor: ink("raised"), bordercolor: ink("rule"), font: { color: ink("ink") } },
  };
  return { ...base, ...more };
}

const preferred = [-3, -2, -1, 0, 1, 2, 3, 4, 5].flatMap((ten) => [1, 2, 5].map((one) => Number(`${one}e${ten}`)));

function axis(of, values) {
  const made = {
    title: { text: of.unit ? `${of.name}, ${of.unit}` : of.name, standoff: 8 },
    gridcolor: ink("rule"),
    linecolor: ink("rule"),
    zerolinecolor: ink("rule"),
    automargin: true,
    fixedrange: true,
    nticks: 6,
    type: of.log ? "log" : "linear",
  };
  if (of.log) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    Object.assign(made, { dtick: 1, exponentformat: "none", nticks: 0 });
    if (high < 100 * low) made.tickvals = preferred.filter((value) => value > low / 2 && value < 2 * high);
    if (made.tickvals) made.ticktext = made.tickvals.map(String); // or plotly writes 2 for 20
  }
  if (of.name === "epoch") made.dtick = preferred.find((step) => step >= 1 && 6 * step >= Math.max(...values));
  if (of.names.length) {
    const text = of.names.map((name) => (name.length > 16 ? `${name.slice(0, 15)}…` : name));
    Object.assign(made, { tickvals: text.map((_, i) => i), ticktext: text.map(escaped), title: "" });
    made.tickangle = text.length > 6 ? -90 : 0;
  }
  return made;
}

// Plotly reads a few tags in its texts; a class may be called <b>.
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function trace(series, chart) {
  const [first] = series.arms;
  const number = first ? armNumber(first) : 0;
  const colour = series.ink ? ink(series.ink) : armInk(first);
  const notes = series.notes.map(escaped);
  const unit = (of) => (of.unit ? ` ${of.unit}` : "");
  const values = `${escaped(chart.x.name)} %{x}${unit(chart.x)}, %{y}${unit(chart.y)}`;
  const made = {
    x: series.x,
    y: series.y,
    text: notes,
    textposition: "none",
    name: series.name,
    opacity: series.faint ? 0.55 : 1,
    hovertemplate: notes.length
      ? `${escaped(series.name)}<br>%{text}<br>${values}<extra></extra>`
      : `${escaped(series.name)}<br>${values}<extra></extra>`,
    visible: !first || series.arms.some((arm) => !hidden(chart.key).has(arm)),
  };
  if (series.mode === "bar") {
    const hovertemplate = "%{text}<br>%{y:+.1f} points<extra></extra>";
    return { ...made, type: "bar", marker: { color: colour }, hovertemplate };
  }
  if (series.mode === "area") {
    const line = { color: colour, shape: "hvh", width: 1.5, dash: series.ink === "wrong" ? "dot" : "solid" };
    return { ...made, type: "scatter", mode: "lines", line, fill: "tozeroy", fillcolor: `${colour}40` };
  }
  const size = series.mode === "markers" ? (series.faint ? 7 : 12) : 6;
  return {
    ...made,
    type: "scatter",
    mode: series.mode,
    line: { color: colour, width: series.faint ? 1 : 2, dash: first ? DASHES[number % 3] : "dashdot" },
    marker: { color: colour, size, symbol: first ? SYMBOLS[PAGE.arm_symbols[number]] : "circle" },
  };
}

function drawChart(place) {
  const chart = PAGE.charts[place.dataset.chart];
  const all = (of) => chart.series.flatMap((series) => series[of]);
  const more = { xaxis: axis(chart.x, all("x")), yaxis: axis(chart.y, all("y")) };
  if (chart.diagonal) {
    const line = { color: ink("muted"), width: 1, dash: "dash" };
    more.shapes = [{ type: "line", x0: 0, y0: 0, x1: 100, y1: 100, line, layer: "below" }];
    Object.assign(more.xaxis, { range: [-2, 102] });
    Object.assign(more.yaxis, { range: [-2, 102] });
  }
  if (place.closest(".solo")) {
    // A line a series above the plot: side by side, many would take the plot's own height.
    place.style.height = `calc(${chart.diagonal ? 20 : 17}rem + ${20 * chart.series.length}px)`;
    Object.assign(more, { showlegend: true, margin: { l: 52, r: 12, t: 8, b: 24 } });
    more.legend = { orientation: "v", x: 0, y: 1.02, yanchor: "bottom" };
  }
  Plotly.react(place, chart.series.map((series) => trace(series, chart)), layout(more), CONFIG);
}

// ---- Which methods are shown: a fieldset of switches rules the charts of its section.
function hidden(key) {
  const section = document.querySelector(`[data-chart="${key}"]`).closest("section");
  const off = section.querySelectorAll(".arms input:not(:checked)");
  return new Set([...off].map((input) => input.value));
}

for (const keys of document.querySelectorAll(".arms")) {
  keys.addEventListener("change", () => {
    keys.closest("section").querySelectorAll("[data-chart]").forEach((place) => {
      if (drawn.has(place)) drawChart(place);
    });
  });
}

// ---- Plots are drawn when they come into sight: a page of a hundred opens at once.
const drawn = new Map();

// Plotly stands in the page as text and is run at the first plot.
function loadLibrary() {
  if (window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = document.getElementById("library").textContent;
  document.head.append(script);
}

function draw(place) {
  loadLibrary();
  const how = place.dataset.chart ? drawChart : place.dataset.plane ? drawPlane : drawMatrix;
  how(place);
  drawn.set(place, how);
  // A plot has its words and its table: its ticks and marks one by one would only be noise.
  for (const part of [...place.children, document.getElementById("js-plotly-tester")]) {
    part?.setAttribute("aria-hidden", "true");
  }
}

function redraw() {
  drawn.forEach((how, place) => how(place));
}

function watch() {
  const places = document.querySelectorAll(".plot");
  const sight = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting && !drawn.has(entry.target)) draw(entry.target);
      }
    },
    { rootMargin: "300px" },
  );
  places.forEach((place) => sight.observe(place));
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    printing = true;
    document.documentElement.classList.add("paper"); // plots take their width from the page
    places.forEach(draw);
  });
  addEventListener("afterprint", () => {
    printing = false;
    document.documentElement.classList.remove("paper");
    redraw();
  });
}

// ---- Tiles of the sheet of small pictures.
function tile(number, words) {
  const box = document.createElement("span");
  const sheet = PAGE.sheet;
  if (words) {
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", words);
  }
  box.className = `tile small${sheet && sheet.pixels ? " pixels" : ""}`;
  if (sheet) {
    const at = (place, count) => `${(100 * place) / Math.max(count - 1, 1)}%`;
    const row = Math.floor(number / sheet.columns);
    box.style.backgroundPosition = `${at(number % sheet.columns, sheet.columns)} ${at(row, sheet.rows)}`;
    box.style.backgroundSize = `${100 * sheet.columns}% ${100 * sheet.rows}%`;
  }
  return box;
}

function line(text, kind) {
  const made = document.createElement("p");
  made.className = kind;
  made.textContent = text;
  return made;
}

// ---- Every figure's data, as a table and as CSV: the same rows.
const rowsOf = {
  chart(key) {
    const chart = PAGE.charts[key];
    const noted = chart.series.some((series) => series.notes.length);
    const unit = (of) => (of.unit ? `${of.name}, ${of.unit}` : of.name);
    const head = ["series", unit(chart.x), unit(chart.y), ...(noted ? ["note"] : [])];
    const rows = chart.series.flatMap((series) =>
      series.x.map((x, i) => [series.name, chart.x.names[x] ?? x, series.y[i], ...(noted ? [series.notes[i] ?? ""] : [])]),
    );
    return [head, ...rows];
  },
};

function csv(rows) {
  const field = (value) => (/[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  return rows.map((row) => row.map(field).join(",")).join("\n") + "\n";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-csv]");
  if (!button) return;
  const [kind, key] = button.dataset.csv.split(":");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(rowsOf[kind](key))], { type: "text/csv" }));
  link.download = `${key}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

const TABLE_ROWS = 400;
document.addEventListener(
  "toggle",
  (event) => {
    const box = event.target;
    if (!box.dataset?.table || box.querySelector("table")) return;
    const [kind, key] = box.dataset.table.split(":");
    const [head, ...rows] = rowsOf[kind](key);
    const wide = document.createElement("div");
    wide.className = "wide";
    wide.tabIndex = 0;
    wide.setAttribute("role", "group");
    wide.setAttribute("aria-label", "A table that scrolls");
    const table = document.createElement("table");
    const caption = table.createCaption();
    caption.className = "unseen";
    caption.textContent = box.dataset.title;
    const headRow = table.createTHead().insertRow();
    for (const name of head) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      headRow.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows.slice(0, TABLE_ROWS)) {
      const made = body.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = row[0];
      made.append(name);
      for (const value of row.slice(1)) made.insertCell().textContent = value;
    }
    wide.append(table);
    box.append(wide);
    if (rows.length > TABLE_ROWS) {
      box.append(line(`${rows.length - TABLE_ROWS} more rows are in the CSV file.`, "aside"));
    }
  },
  true,
);
