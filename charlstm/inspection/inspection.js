"use strict";
(() => {
const root = document.documentElement;
window.addEventListener("error", (event) => { root.dataset.error = event.message; });
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const { text, runs } = data;
const T = text.length, BAR_ROWS = 8, LINE = 24;
const SYMBOLS = { "\n": "↵", "\t": "→", "\r": "↩", " ": " " };
const NAMES = { "\n": "line end", "\t": "tab", " ": "space", "\r": "carriage return" };
const chosen = { run: 0, shade: "unit", quantity: 0, layer: 0, unit: 0, position: Math.min(T - 1, data.position), measure: "replaced" };
let rows = [], rowOf = new Int32Array(T), columnOf = new Int32Array(T), columns = 80, cell = 9, isQueued = false;

// Compressed arrays, decompressed when they are first needed.
const arrays = new Map();
async function unpack(blob) {
  if (!arrays.has(blob)) {
    const binary = atob(blob.data), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const types = { int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array };
    arrays.set(blob, new types[blob.type](await new Response(stream).arrayBuffer()));
  }
  return arrays.get(blob);
}
const run = () => runs[chosen.run];
const quantity = () => run().quantities[chosen.quantity];
const stored = () => quantity().layers[chosen.layer];
const units = () => stored().units ?? run().allUnits;

function show(symbol) {
  if (symbol in SYMBOLS) return SYMBOLS[symbol];
  if (/^\p{M}$/u.test(symbol)) return "◌" + symbol;
  return /^[\p{C}\p{Zl}\p{Zp}]$/u.test(symbol) && !/^\p{Emoji}$/u.test(symbol) ? "□" : symbol;
}
function name(symbol) {
  if (symbol in NAMES) return NAMES[symbol];
  const shown = show(symbol);
  return shown === symbol ? `“${symbol}”` : `U+${symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// The text as rows of cells of equal width, over a canvas with one pixel (or one column of pixels) per cell.
function layOut() {
  const sample = element("span", { className: "measure", textContent: "0".repeat(100) });
  $("rows").append(sample);
  cell = sample.getBoundingClientRect().width / 100;
  if (data.wide) cell *= 2;
  columns = Math.max(10, Math.floor($("text-box").clientWidth / cell));
  rows = [];
  for (let start = 0; start < T;) {
    let end = start, space = -1;
    while (end < T && end - start < columns) {
      const symbol = text[end++];
      if (symbol === "\n") { space = -1; break; }
      if (symbol === " ") space = end;
    }
    if (end < T && text[end - 1] !== "\n" && space > start + columns / 2) end = space;
    for (let i = start; i < end; i++) { rowOf[i] = rows.length; columnOf[i] = i - start; }
    rows.push([start, end]);
    start = end;
  }
  const made = rows.map(([start, end]) => {
    const row = element("div");
    let plain = "";
    for (let i = start; i < end; i++) {
      if (!data.wide && /^[ -~]$/.test(text[i])) { plain += text[i]; continue; }
      row.append(plain);
      plain = "";
      const shown = element("span", { className: text[i] in SYMBOLS ? "cell sign" : "cell", textContent: show(text[i]) });
      shown.style.width = `${cell}px`;
      row.append(shown);
    }
    row.append(plain);
    return row;
  });
  $("rows").replaceChildren(...made);
  const canvas = $("colors");
  Object.assign(canvas.style, { width: `${columns * cell}px`, height: `${rows.length * LINE}px` });
  queue();
}
const COLORS = matchMedia("(prefers-color-scheme: dark)").matches && !matchMedia("print").matches
  ? { low: [36, 104, 178], high: [188, 84, 0], alpha: 235 } : { low: [77, 154, 214], high: [247, 148, 59], alpha: 225 };

function paint(values) {
  const bars = $("bars").checked, height = bars ? BAR_ROWS : 1, canvas = $("colors");
  canvas.width = columns;
  canvas.height = rows.length * height;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows.length * height);
  const pixels = new Uint32Array(image.data.buffer);
  const color = ([r, g, b], alpha) => (alpha << 24) | (b << 16) | (g << 8) | r;
  for (let i = 0; i < T; i++) {
    const value = values(i), size = Math.min(1, Math.abs(value)), tone = value < 0 ? COLORS.low : COLORS.high;
    const first = rowOf[i] * height * columns + columnOf[i];
    if (!bars) { pixels[first] = color(tone, Math.round(COLORS.alpha * size)); continue; }
    const filled = Math.round(size * BAR_ROWS), paintColor = color(tone, COLORS.alpha);
    for (let k = 0; k < filled; k++) pixels[first + (value < 0 ? k : BAR_ROWS - 1 - k) * columns] = paintColor;
  }
  context.putImageData(image, 0, 0);
}

async function draw() {
  isQueued = false;
  const surprise = await unpack(run().surprise);
  if (chosen.shade === "surprise") paint((i) => surprise[i] / 8000);
  else {
    const values = await unpack(stored().values), first = units().indexOf(chosen.unit) * T, levels = quantity().levels;
    paint((i) => values[first + i] / levels);
  }
  const marker = $("marker").style, row = rowOf[chosen.position];
  marker.transform = `translate(${columnOf[chosen.position] * cell}px, ${row * LINE}px)`;
  marker.width = `${cell}px`;
  await describe();
  root.dataset.drawn = String(Number(root.dataset.drawn ?? 0) + 1);
}
function queue() {
  if (isQueued) return;
  isQueued = true;
  requestAnimationFrame(() => draw().catch((error) => { root.dataset.error = String(error); }));
}

const bits = (value) => `${value.toFixed(2)} bits`;
async function describe() {
  const i = chosen.position, surprise = await unpack(run().surprise), top = await unpack(run().top), p = await unpack(run().topP);
  const per = run().topCount, list = [];
  for (let k = 0; k < per; k++) {
    const symbol = run().vocabulary[top[i * per + k]], probability = p[i * per + k] / 65535;
    const bar = element("i", { className: "bar" });
    bar.style.width = `${100 * probability}%`;
    const item = element("li", {}, element("b", { textContent: show(symbol) === " " ? "␣" : show(symbol), title: name(symbol) }), element("span", { className: "track" }, bar), element("span", { textContent: `${(100 * probability).toFixed(1)}%` }));
    if (symbol === text[i]) item.className = "right";
    list.push(item);
  }
  const facts = [];
  for (const one of run().quantities) {
    const layer = one.layers[chosen.layer], index = (layer.units ?? run().allUnits).indexOf(chosen.unit);
    if (index < 0) continue;
    const values = await unpack(layer.values), scale = layer.scales ? layer.scales[index] : 1;
    facts.push(element("dt", { textContent: one.title }), element("dd", { textContent: (values[index * T + i] / one.levels * scale).toFixed(2) }));
  }
  $("character").textContent = `${name(text[i])}, character ${(i + 1).toLocaleString("en")} of ${T.toLocaleString("en")}`;
  $("surprise").textContent = `${bits(surprise[i] / 1000)} of surprise`;
  $("top").replaceChildren(...list);
  $("values").replaceChildren(...facts);
  await describeLeaning();
}

// The characters that were read before the chosen one, shaded by how much its prediction depends on them, for every run.
async function describeLeaning() {
  if (!$("leaning")) return;
  const i = chosen.position, blocks = [];
  for (const one of runs) {
    const { context, gradient, replaced } = one.leaning, step = one.isBackward ? 1 : -1;
    const values = await unpack(chosen.measure === "replaced" ? replaced : gradient);
    const at = (k) => chosen.measure === "replaced" ? values[i * context + k - 1] / 10 : values[i * context + k - 1] / 255;
    let largest = chosen.measure === "replaced" ? 1 : 1e-9;
    const lags = [];
    for (let k = 1; k <= context && i + step * k >= 0 && i + step * k < T; k++) { lags.push(k); largest = Math.max(largest, Math.abs(at(k))); }
    const cells = lags.map((k) => {
      const value = at(k), symbol = text[i + step * k], share = Math.abs(value) / largest;
      const [r, g, b] = value < 0 ? COLORS.low : COLORS.high;
      const shown = element("span", { textContent: show(symbol), title: chosen.measure === "replaced" ? `${name(symbol)}, ${k} back: ${value >= 0 ? "+" : ""}${value.toFixed(1)} bits if replaced` : `${name(symbol)}, ${k} back: ${Math.round(100 * value)}% of the largest gradient` });
      shown.style.background = `rgb(${r} ${g} ${b} / ${(0.9 * share).toFixed(2)})`;
      return shown;
    });
    if (!one.isBackward) cells.reverse();
    const target = element("span", { className: "target", textContent: show(text[i]) === " " ? "␣" : show(text[i]) });
    const line = element("p", { className: "window" }, ...(one.isBackward ? [target, ...cells] : [...cells, target]));
    const surprise = (await unpack(one.surprise))[i] / 1000;
    blocks.push(element("h3", { textContent: `${one.name}: ${bits(surprise)}` }), line);
  }
  $("windows").replaceChildren(...blocks);
}

// Controls.
function fill() {
  const options = (names, selected) => names.map((label, index) => element("option", { value: index, textContent: label, selected: index === selected }));
  $("run").replaceChildren(...options(runs.map((one) => one.name), chosen.run));
  $("quantity").replaceChildren(...options(run().quantities.map((one) => one.title), chosen.quantity));
  $("layer").replaceChildren(...options(stored_layers(), chosen.layer));
  const list = units();
  if (!list.includes(chosen.unit)) chosen.unit = list[0];
  Object.assign($("unit"), { min: 0, max: list.length - 1, value: list.indexOf(chosen.unit) });
  $("unit").setAttribute("aria-valuetext", `unit ${chosen.unit}`);
  $("unit-number").textContent = `unit ${chosen.unit}`;
  $("stored").textContent = stored().units ? `Only the units found below are stored of this: ${list.length}` : "";
  $("shade").value = chosen.shade;
  $("found").replaceChildren(...run().found.map((one) => {
    const button = element("button", { type: "button", textContent: one.text });
    button.setAttribute("aria-pressed", String(chosen.shade === "unit" && one.quantity === chosen.quantity && one.layer === chosen.layer && one.unit === chosen.unit));
    button.addEventListener("click", () => choose({ shade: "unit", quantity: one.quantity, layer: one.layer, unit: one.unit }));
    return button;
  }));
  const [low, high] = chosen.shade === "surprise" ? ["0 bits", "8 bits or more"] : quantity().isSigned ? ["negative", "positive"] : ["0 closed", "1 open"];
  $("low").textContent = low;
  $("high").textContent = high;
  $("scale").className = chosen.shade === "surprise" || !quantity().isSigned ? "sequential" : "diverging";
  queue();
}
const stored_layers = () => quantity().layers.map((_, index) => `layer ${index + 1}`);
function choose(changes) {
  Object.assign(chosen, changes);
  chosen.quantity = Math.min(chosen.quantity, run().quantities.length - 1);
  chosen.layer = Math.min(chosen.layer, quantity().layers.length - 1);
  fill();
}
function stepUnit(by) {
  const list = units(), index = list.indexOf(chosen.unit);
  choose({ shade: "unit", unit: list[(index + by + list.length) % list.length] });
}
const stepPosition = (by) => moveTo(chosen.position + by);
function moveTo(position) {
  chosen.position = Math.max(0, Math.min(T - 1, position));
  queue();
}
function positionAt(event) {
  const box = $("text-box").getBoundingClientRect();
  const row = rows[Math.floor((event.clientY - box.top) / LINE)], column = Math.floor((event.clientX - box.left) / cell);
  return row && column >= 0 && row[0] + column < row[1] ? row[0] + column : null;
}
function choosePosition(event) {
  const position = positionAt(event);
  if (position !== null && position !== chosen.position) moveTo(position);
}
$("run").addEventListener("change", (event) => choose({ run: Number(event.target.value) }));
$("shade").addEventListener("change", (event) => choose({ shade: event.target.value }));
$("quantity").addEventListener("change", (event) => choose({ shade: "unit", quantity: Number(event.target.value) }));
$("layer").addEventListener("change", (event) => choose({ shade: "unit", layer: Number(event.target.value) }));
$("unit").addEventListener("input", (event) => choose({ shade: "unit", unit: units()[Number(event.target.value)] }));
$("previous").addEventListener("click", () => stepUnit(-1));
$("next").addEventListener("click", () => stepUnit(1));
$("bars").addEventListener("change", queue);
$("measure")?.addEventListener("change", (event) => { chosen.measure = event.target.value; queue(); });
let isPinned = false;
$("text-box").addEventListener("mousemove", (event) => { if (!isPinned) choosePosition(event); });
$("text-box").addEventListener("click", (event) => {
  const position = positionAt(event);
  isPinned = position !== null && !(isPinned && position === chosen.position);
  choosePosition(event);
  $("marker").classList.toggle("pinned", isPinned);
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const row = rowOf[chosen.position];
  const moves = event.shiftKey
    ? { ArrowLeft: () => stepPosition(-1), ArrowRight: () => stepPosition(1), ArrowUp: () => row > 0 && moveTo(Math.min(rows[row - 1][0] + columnOf[chosen.position], rows[row - 1][1] - 1)), ArrowDown: () => row + 1 < rows.length && moveTo(Math.min(rows[row + 1][0] + columnOf[chosen.position], rows[row + 1][1] - 1)) }
    : { ArrowLeft: () => stepUnit(-1), ArrowRight: () => stepUnit(1) };
  if (!moves[event.key]) return;
  event.preventDefault();
  if (event.shiftKey) { isPinned = true; $("marker").classList.add("pinned"); }
  moves[event.key]();
});
let width = 0;
function fit() {
  if ($("text").clientWidth === width) return;
  width = $("text").clientWidth;
  layOut();
}
addEventListener("resize", fit);
let before = false;
addEventListener("beforeprint", () => { before = $("bars").checked; $("bars").checked = true; draw(); });
addEventListener("afterprint", () => { $("bars").checked = before; queue(); });
chosen.quantity = run().found[0]?.quantity ?? 0;
chosen.layer = run().found[0]?.layer ?? 0;
chosen.unit = run().found[0]?.unit ?? units()[0];
fit();
fill();
})();
