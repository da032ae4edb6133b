"use strict";
// The embeddings side by side: one image is pointed out in all of them, with its picture.
const EDGE = 999;
const UNNAMED = PAGE.key.length; // a chosen class that is not among those with a colour
const card = document.createElement("div");
card.className = "card";
card.setAttribute("aria-hidden", "true");
card.hidden = true;
// A region that is always there is read out when its words change; one that appears is often not.
const spoken = document.createElement("div");
spoken.className = "unseen spoken";
spoken.setAttribute("role", "status");
document.body.append(card, spoken);

const cellOf = (place) => PAGE.cells[place.dataset.cell];
const choice = (place, name) => place.closest(".embedding").querySelector(name);

function points(place) {
  const kind = choice(place, ".kinds :checked").value;
  const flat = cellOf(place).embedding.planes[place.dataset.plane][kind];
  return { x: flat.filter((_, i) => i % 2 === 0), y: flat.filter((_, i) => i % 2 === 1) };
}

function groups(place, count) {
  // Each image's group: a coloured class, or -1; a class that is chosen stands out alone.
  const chosen = Number(choice(place, ".classes").value);
  return Array.from({ length: count }, (_, image) => {
    const label = PAGE.pool.labels[image];
    const coloured = PAGE.key.indexOf(label);
    if (chosen < 0) return coloured;
    if (label !== chosen) return -1;
    return coloured < 0 ? UNNAMED : coloured;
  });
}

function drawPlane(place) {
  const { x, y } = points(place);
  const group = groups(place, x.length);
  const alone = Number(choice(place, ".classes").value) >= 0;
  const traces = [];
  for (const number of [-1, ...PAGE.key.keys(), UNNAMED]) {
    const images = [];
    group.forEach((of, image) => of === number && images.push(image));
    if (!images.length) continue;
    traces.push({
      x: images.map((image) => x[image]),
      y: images.map((image) => y[image]),
      customdata: images,
      type: "scatter",
      mode: "markers",
      hoverinfo: "none",
      opacity: number < 0 ? (alone ? 0.6 : 0.7) : 0.85,
      marker: {
        size: number < 0 ? 4 : small() ? 5 : 6,
        color: number < 0 ? ink("other") : number === UNNAMED ? ink("ink") : ink(`class-${number}`),
        symbol: number < 0 || number === UNNAMED ? "circle" : symbolOf(number),
      },
    });
  }
  const bare = { visible: false, fixedrange: true, range: [-25, EDGE + 25] };
  const square = { ...bare, scaleanchor: "x" };
  const margin = { l: 0, r: 0, t: 0, b: 0 };
  Plotly.react(place, traces, layout({ xaxis: bare, yaxis: square, margin }), CONFIG);
  if (!place.dataset.listening) listen(place);
}

function listen(place) {
  place.dataset.listening = "yes";
  place.on("plotly_hover", ({ points: [point] }) => show(place, point.customdata));
  place.on("plotly_unhover", hide);
  place.on("plotly_click", ({ points: [point] }) => show(place, point.customdata));
  place.addEventListener("blur", hide);
  place.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    const order = inSight(place);
    const now = order.indexOf(Number(place.dataset.image ?? -1));
    show(place, order[(now + step + order.length) % order.length]);
  });
}

// The images that the arrow keys go through: of the chosen class, from left to right.
function inSight(place) {
  const { x } = points(place);
  const chosen = Number(choice(place, ".classes").value);
  const images = x.map((_, image) => image);
  const kept = images.filter((image) => chosen < 0 || PAGE.pool.labels[image] === chosen);
  return kept.sort((a, b) => x[a] - x[b]);
}

function onScreen(place, image) {
  const { x, y } = points(place);
  const { xaxis, yaxis } = place._fullLayout;
  if (!(image < x.length)) return null;
  return { left: xaxis._offset + xaxis.l2p(x[image]), top: yaxis._offset + yaxis.l2p(y[image]) };
}

function show(place, image) {
  const cell = cellOf(place);
  place.dataset.image = image;
  const label = PAGE.classes[PAGE.pool.labels[image]];
  const words = document.createElement("div");
  words.append(line(label, "said"));
  for (const [arm, said] of Object.entries(cell.said)) {
    const right = said[image] === PAGE.pool.labels[image];
    words.append(line(`${right ? "✓" : "✗"} ${arm}: ${PAGE.classes[said[image]]}`, right ? "was" : "was off"));
  }
  words.append(line(PAGE.pool.paths[image], "path"));
  card.replaceChildren(...(PAGE.sheet ? [tile(image, "")] : []), words);
  spoken.replaceChildren(...[...words.children].map((said) => said.cloneNode(true)));
  card.hidden = false;
  for (const other of place.closest(".panels").querySelectorAll(".plot")) {
    if (!drawn.has(other)) continue;
    let ring = other.querySelector(".ring");
    if (!ring) {
      ring = document.createElement("span");
      ring.className = "ring";
      other.append(ring);
    }
    const at = onScreen(other, image);
    ring.hidden = !at;
    if (at) Object.assign(ring.style, { left: `${at.left}px`, top: `${at.top}px` });
  }
  const at = onScreen(place, image);
  if (at) move(place.getBoundingClientRect(), at);
}

function move(box, at) {
  const x = box.left + at.left;
  const y = box.top + at.top;
  const left = x + 16 + card.offsetWidth > innerWidth ? x - 16 - card.offsetWidth : x + 16;
  const top = Math.min(y + 16, innerHeight - card.offsetHeight - 8);
  Object.assign(card.style, { left: `${Math.max(8, left)}px`, top: `${Math.max(8, top)}px` });
}

function hide() {
  card.hidden = true;
  document.querySelectorAll(".ring").forEach((ring) => (ring.hidden = true));
}

for (const section of document.querySelectorAll(".embedding")) {
  section.addEventListener("change", () => {
    hide();
    section.querySelectorAll("[data-plane]").forEach((place) => drawn.has(place) && drawPlane(place));
  });
}
addEventListener("scroll", hide, { passive: true });

rowsOf.embedding = (number) => {
  const cell = PAGE.cells[number];
  const { planes } = cell.embedding;
  const arms = Object.keys(cell.said);
  const head = ["image", "label", ...arms.map((arm) => `${arm} says`)];
  for (const { title } of planes) {
    for (const kind of ["PCA", "t-SNE"]) head.push(`${title}, ${kind} x`, `${title}, ${kind} y`);
  }
  const rows = [];
  for (let image = 0; image < cell.embedding.sample; image++) {
    const row = [PAGE.pool.paths[image], PAGE.classes[PAGE.pool.labels[image]]];
    row.push(...arms.map((arm) => PAGE.classes[cell.said[arm][image]]));
    for (const { pca, tsne } of planes) {
      for (const flat of [pca, tsne]) row.push(flat[2 * image] ?? "", flat[2 * image + 1] ?? "");
    }
    rows.push(row);
  }
  return [head, ...rows];
};
