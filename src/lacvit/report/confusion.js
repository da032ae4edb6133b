"use strict";
// A method's confusion matrix; a cell, pointed at or named by the lists below, opens its images.
const SHOWN = 24;

function counted(number, arm) {
  const flat = PAGE.cells[number].confusion.cells[arm];
  const found = [];
  for (let i = 0; i < flat.length; i += 3) found.push([flat[i], flat[i + 1], flat[i + 2]]);
  return found;
}

// Each number in black or white, whichever stands out more from its cell (WCAG's contrast).
function numbers(shade, count) {
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const linear = (value) => (value <= 10 ? value / 3295 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const paper = channels(ink("paper"));
  const [right, wrong] = [channels(ink("right")), channels(ink("wrong"))];
  const colour = (value) => {
    const full = value < 0 ? wrong : right;
    const [r, g, b] = paper.map((from, i) => linear(from + Math.abs(value) * (full[i] - from)));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
  };
  const number = (text, x, y) => ({ x, y, text: String(text), showarrow: false, font: { color: colour(shade[y][x]) } });
  return count.flatMap((row, y) => row.map((text, x) => number(text, x, y))).filter(({ text }) => text);
}

function drawMatrix(place) {
  const { cell, matrix: arm } = place.dataset;
  const { order } = PAGE.cells[cell].confusion;
  const rank = new Map(order.map((label, i) => [label, i]));
  const size = order.length;
  const empty = (value) => Array.from({ length: size }, () => Array(size).fill(value));
  const [shade, count] = [empty(0), empty("")];
  const totals = Array(size).fill(0);
  for (const [label, , n] of counted(cell, arm)) totals[label] += n;
  for (const [label, said, n] of counted(cell, arm)) {
    const root = Math.sqrt(n / totals[label]);
    shade[rank.get(label)][rank.get(said)] = label === said ? root : -root;
    count[rank.get(label)][rank.get(said)] = n;
  }
  const names = order.map((label) => PAGE.classes[label]);
  const named = size <= 30;
  const text = names.map((name) => escaped(name.length > 12 ? `${name.slice(0, 11)}…` : name));
  const scale = [[0, ink("wrong")], [0.5, ink("paper")], [1, ink("right")]];
  const trace = {
    type: "heatmap",
    z: shade,
    zmin: -1,
    zmax: 1,
    colorscale: scale,
    showscale: false,
    xgap: size <= 30 ? 1 : 0,
    ygap: size <= 30 ? 1 : 0,
    text: count,
    customdata: order.map((label) => order.map((said) => [escaped(PAGE.classes[label]), escaped(PAGE.classes[said])])),
    hovertemplate: "%{customdata[0]}<br>said to be %{customdata[1]}<br>%{text} images<extra></extra>",
    hoverongaps: false,
  };
  const side = (title) => ({
    title: { text: title, standoff: 6 },
    tickvals: named ? text.map((_, i) => i) : [],
    ticktext: text,
    showgrid: false,
    zeroline: false,
    linecolor: ink("rule"),
    mirror: true,
    fixedrange: true,
    automargin: true,
    constrain: "domain",
    tickfont: { size: size <= 12 ? 11 : 9 },
  });
  const yaxis = { ...side("label"), autorange: "reversed", scaleanchor: "x" };
  const xaxis = { ...side("prediction"), tickangle: -90 };
  const margin = { l: 40, r: 4, t: 4, b: 40 };
  const annotations = size <= 12 ? numbers(shade, count) : [];
  Plotly.react(place, [trace], layout({ xaxis, yaxis, margin, annotations }), CONFIG);
  if (place.dataset.listening) return;
  place.dataset.listening = "yes";
  place.on("plotly_click", ({ points: [{ pointIndex }] }) => {
    const form = place.closest(".matrices").querySelector(".opener");
    form.querySelector("[name=arm]").value = arm;
    form.querySelector("[name=label]").value = order[pointIndex[0]];
    form.querySelector("[name=said]").value = order[pointIndex[1]];
    openCell(form);
    form.scrollIntoView({ block: "nearest" });
  });
}

function openCell(form) {
  const value = (name) => form.querySelector(`[name=${name}]`).value;
  const number = form.dataset.cell;
  const [arm, label, said] = [value("arm"), Number(value("label")), Number(value("said"))];
  const answers = PAGE.cells[number].said[arm];
  const found = counted(number, arm).find(([a, b]) => a === label && b === said);
  const total = found ? found[2] : 0;
  const pictured = [];
  answers.forEach((answer, image) => {
    if (answer === said && PAGE.pool.labels[image] === label) pictured.push(image);
  });
  const shown = pictured.slice(0, SHOWN);
  const list = document.createElement("ol");
  list.className = "mistakes";
  for (const image of shown) {
    const item = document.createElement("li");
    if (PAGE.sheet) item.append(tile(image, PAGE.pool.paths[image]));
    item.append(line(PAGE.pool.paths[image].replaceAll("/", "/\u200b"), "was")); // lines end at folders
    list.append(item);
  }
  const many = `${total} image${total === 1 ? "" : "s"}`;
  const what = label === said ? "named rightly" : `said to be ${PAGE.classes[said]}`;
  let words = `${arm}: ${many} of ${PAGE.classes[label]} ${what}.`;
  if (total > shown.length) words += ` ${shown.length} shown, ${total - shown.length} more.`;
  form.querySelector(".opened").replaceChildren(line(words, "lead"), list);
}

for (const form of document.querySelectorAll(".opener")) {
  form.addEventListener("change", () => openCell(form));
}

rowsOf.confusion = (number) => {
  const rows = [["method", "label", "prediction", "images"]];
  for (const arm of Object.keys(PAGE.cells[number].confusion.cells)) {
    for (const [label, said, n] of counted(number, arm)) {
      rows.push([arm, PAGE.classes[label], PAGE.classes[said], n]);
    }
  }
  return rows;
};

watch();
