"use strict";
(() => {
const root = document.documentElement;
const $ = (id) => document.getElementById(id);
function fail(message) {
  root.dataset.error = message;
  $("problem").textContent = `This page could not be drawn: ${message}. It needs a browser of 2023 or later.`;
}
window.addEventListener("error", (event) => fail(event.message));
const data = JSON.parse($("data").textContent);
const { text, runs } = data;
const T = text.length, BAR_ROWS = 8, LINE = 24, PRINTED_WIDTH = 680;
const wide = new Set(data.wide), isWideText = wide.size > T / 5;
const SYMBOLS = { "\n": "↵", "\t": "→", "\r": "↩", " ": " " };
const NAMES = { "\n": "line end", "\t": "tab", " ": "space", "\r": "carriage return" };
const NOT_ON_ONE = { replaced: "It depends on none of them by a tenth of a bit.", gradient: "The gradient of each is below 4% of the largest." };
const chosen = { run: 0, shade: "unit", quantity: 0, layer: 0, unit: 0, position: Math.min(T - 1, data.position), measure: "replaced" };
let turn = 0, rows = [], rowOf = new Int32Array(T), columnOf = new Int32Array(T), columns = 80, cell = 9, isQueued = false;

// Compressed arrays, decompressed when they are first needed.
const arrays = new Map();
async function unpack(blob) {
  if (!arrays.has(blob)) {
    const binary = atob(blob.data), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const types = { int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };
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
  if (/^\p{Zs}$/u.test(symbol)) return "␣";
  return /^[\p{C}\p{Zl}\p{Zp}]$/u.test(symbol) && !/^\p{Emoji}$/u.test(symbol) ? "□" : symbol;
}
function name(symbol) {
  if (symbol in NAMES) return NAMES[symbol];
  const shown = show(symbol);
  return shown === symbol ? `“\u2068${symbol}\u2069”` : `U+${symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// The text as rows of cells of equal width, over a canvas with one pixel (or one column of pixels) per cell.
function layOut(available) {
  const sample = element("span", { className: "measure", textContent: "0".repeat(100) });
  $("rows").append(sample);
  cell = sample.getBoundingClientRect().width / 100;
  if (isWideText) cell *= 2;
  columns = Math.max(10, Math.floor(available / cell));
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
      if (!isWideText && /^[ -~]$/.test(text[i])) { plain += text[i]; continue; }
      row.append(plain);
      plain = "";
      const kind = text[i] in SYMBOLS ? "cell sign" : wide.has(i) && !isWideText ? "cell small" : "cell";
      const shown = element("span", { className: kind, textContent: show(text[i]) });
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
const isDark = matchMedia("(prefers-color-scheme: dark)");
let isPrinting = false;
function palette() {
  return isDark.matches && !isPrinting
    ? { low: [36, 104, 178], high: [188, 84, 0], alpha: 235 } : { low: [77, 154, 214], high: [247, 148, 59], alpha: 225 };
}

function paint(values) {
  const COLORS = palette();
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
  const ticket = ++turn, first = units().indexOf(chosen.unit) * T, levels = quantity().levels;
  const bySurprise = chosen.shade === "surprise", values = await unpack(bySurprise ? run().surprise : stored().values);
  const isScored = await scoredOf(run());
  if (ticket !== turn) return;
  paint(bySurprise ? (i) => isScored(i) ? values[i] / 8000 : 0 : (i) => values[first + i] / levels);
  const marker = $("marker").style, row = rowOf[chosen.position];
  marker.transform = `translate(${columnOf[chosen.position] * cell}px, ${row * LINE}px)`;
  marker.width = `${cell}px`;
  await describe(ticket);
  root.dataset.drawn = String(Number(root.dataset.drawn ?? 0) + 1);
}
function queue() {
  if (isQueued) return;
  isQueued = true;
  requestAnimationFrame(() => draw().catch((error) => fail(String(error))));
}

const MAX_SURPRISE = 65.535;  // bits: stored as 16-bit numbers of thousandths
const bits = (value) => `${value.toFixed(2)} bits${value >= MAX_SURPRISE ? " or more" : ""}`;
const UNSCORED = "it does not count in the loss: no surprise";
const scoredOf = async (one) => { const counts = one.scored && await unpack(one.scored); return (i) => !counts || counts[i] > 0; };
async function describe(ticket) {
  const i = chosen.position, one = run(), layer = chosen.layer, unit = chosen.unit, per = one.topCount, list = [];
  const surprise = await unpack(one.surprise), top = await unpack(one.top), p = await unpack(one.topP);
  const isScored = (await scoredOf(one))(i);
  for (let k = 0; isScored && k < per; k++) {
    const symbol = one.vocabulary[top[i * per + k]], probability = p[i * per + k] / 65535;
    const bar = element("i", { className: "bar" });
    bar.style.width = `${100 * probability}%`;
    const item = element("li", {}, element("b", { textContent: show(symbol) === " " ? "␣" : show(symbol), title: name(symbol) }), element("span", { className: "track" }, bar), element("span", { textContent: `${(100 * probability).toFixed(1)}%` }));
    if (symbol === text[i]) item.className = "right";
    list.push(item);
  }
  const facts = [];
  for (const { title, levels, layers } of one.quantities) {
    const kept = layers[layer], index = (kept.units ?? one.allUnits).indexOf(unit);
    if (index < 0) continue;
    const values = await unpack(kept.values), scale = kept.scales ? kept.scales[index] : 1;
    facts.push(element("dt", { textContent: title }), element("dd", { textContent: (values[index * T + i] / levels * scale).toFixed(2) }));
  }
  if (ticket !== turn) return;
  $("character").textContent = `${name(text[i])}, character ${(i + 1).toLocaleString("en")} of ${T.toLocaleString("en")}`;
  $("surprise").textContent = isScored ? `${bits(surprise[i] / 1000)} of surprise` : UNSCORED;
  $("top").replaceChildren(...list);
  $("values").replaceChildren(...facts);
  announce(`${$("character").textContent}: ${$("surprise").textContent}; ${facts.map((fact) => fact.textContent).join(" ")}`);
  await describeAttribution(ticket);
}
let announcement = 0;
function announce(words) {  // once the keys rest
  clearTimeout(announcement);
  announcement = setTimeout(() => { $("live").textContent = `unit ${chosen.unit}, ${words}`; }, 800);
}

// The characters that were read before the chosen one, shaded by how much its prediction depends on them, for every run.
async function describeAttribution(ticket) {
  if (!$("attribution")) return;
  const i = chosen.position, blocks = [], COLORS = palette();
  for (const one of runs) {
    const { context, gradient, replaced } = one.attribution, step = one.isBackward ? 1 : -1;
    const values = await unpack(chosen.measure === "replaced" ? replaced : gradient);
    const at = (k) => chosen.measure === "replaced" ? values[i * context + k - 1] / 10 : values[i * context + k - 1] / 255;
    let largest = chosen.measure === "replaced" ? 1 : 1e-9;
    const lags = [], start = one.isBackward ? Math.min(...one.starts.filter((s) => s >= i)) : Math.max(...one.starts.filter((s) => s <= i));
    for (let k = 1; k <= context && k <= Math.abs(i - start); k++) { lags.push(k); largest = Math.max(largest, Math.abs(at(k))); }
    const cells = lags.map((k) => {
      const value = at(k), symbol = text[i + step * k], share = Math.abs(value) / largest;
      const [r, g, b] = value < 0 ? COLORS.low : COLORS.high;
      const shown = element("span", { textContent: show(symbol) });
      shown.style.background = `rgb(${r} ${g} ${b} / ${(0.9 * share).toFixed(2)})`;
      return shown;
    });
    if (!one.isBackward) cells.reverse();
    const target = element("span", { className: "target", textContent: show(text[i]) === " " ? "␣" : show(text[i]) });
    const line = element("p", { className: "window" }, ...(one.isBackward ? [target, ...cells] : [...cells, target]));
    if (!(await scoredOf(one))(i)) {
      blocks.push(element("h3", { textContent: `${one.name}: ${UNSCORED}` }));
      continue;
    }
    const surprise = (await unpack(one.surprise))[i] / 1000;
    const strongest = lags.filter((k) => Math.abs(at(k)) > 0.04).sort((a, b) => Math.abs(at(b)) - Math.abs(at(a))).slice(0, 5);
    const says = strongest.map((k) => `${name(text[i + step * k])} ${k} ${one.isBackward ? "ahead" : "back"}: ` + (chosen.measure === "replaced" ? `${at(k) >= 0 ? "+" : "−"}${Math.abs(at(k)).toFixed(1)} bits` : `${Math.round(100 * at(k))}% of the largest`));
    const list = element("p", { className: "strongest", textContent: says.join("; ") || (lags.length ? NOT_ON_ONE[chosen.measure] : "It is the first that is read.") });
    blocks.push(element("h3", { textContent: `${one.name}: ${bits(surprise)} of surprise` }), line, list);
  }
  if (ticket !== turn) return;
  $("windows").replaceChildren(...blocks);
}

// Controls.
function fillRun() {
  const options = (names) => names.map((label, index) => element("option", { value: index, textContent: label }));
  $("run").replaceChildren(...options(runs.map((one) => one.name)));
  $("quantity").replaceChildren(...options(run().quantities.map((one) => one.title)));
  $("layer").replaceChildren(...options(quantity().layers.map((_, index) => `layer ${index + 1}`)));
  $("found").replaceChildren(...run().found.map((one) => {
    const button = element("button", { type: "button", textContent: one.text });
    button.addEventListener("click", () => choose({ shade: "unit", quantity: one.quantity, layer: one.layer, unit: one.unit }));
    return button;
  }));
}
function fill() {
  const list = units();
  if (!list.includes(chosen.unit)) chosen.unit = list[0];
  for (const id of ["run", "quantity", "layer"]) $(id).value = chosen[id];
  Object.assign($("unit"), { min: 0, max: list.length - 1, value: list.indexOf(chosen.unit) });
  $("unit").setAttribute("aria-valuetext", `unit ${chosen.unit}`);
  $("unit-number").textContent = `unit ${chosen.unit}`;
  $("stored").textContent = stored().units ? `Of this, the page has only the best units for the features of the text: ${list.join(", ")}` : "";
  $("shade").value = chosen.shade;
  run().found.forEach((one, index) => {
    const isChosen = chosen.shade === "unit" && one.quantity === chosen.quantity && one.layer === chosen.layer && one.unit === chosen.unit;
    $("found").children[index].setAttribute("aria-pressed", String(isChosen));
  });
  const bySurprise = chosen.shade === "surprise", isSigned = !bySurprise && quantity().isSigned;
  const [low, high] = bySurprise ? ["0 bits", "8 bits or more"] : isSigned ? ["negative", "positive"] : ["0 closed", "1 open"];
  $("low").textContent = low;
  $("high").textContent = high;
  $("scale").className = isSigned ? "diverging" : "sequential";
  const shown = bySurprise ? "surprise" : `${quantity().title} of unit ${chosen.unit} of layer ${chosen.layer + 1}`;
  $("printed").textContent = `${run().name}, ${shown}: bars stand up for ${high}` + (isSigned ? ", and hang down for negative" : "");
  queue();
}
function choose(changes) {
  const before = chosen.run;
  Object.assign(chosen, changes);
  chosen.quantity = Math.min(chosen.quantity, run().quantities.length - 1);
  chosen.layer = Math.min(chosen.layer, quantity().layers.length - 1);
  if (chosen.run !== before) fillRun();
  fill();
}
function stepUnit(by) {  // past the last unit, to the first of the next layer
  const index = units().indexOf(chosen.unit) + by, layers = quantity().layers.length;
  if (index >= 0 && index < units().length) return choose({ shade: "unit", unit: units()[index] });
  chosen.layer = (chosen.layer + by + layers) % layers;
  choose({ shade: "unit", unit: units().at(by > 0 ? 0 : -1) });
}
const stepPosition = (by) => moveTo(chosen.position + by);
function moveTo(position) {
  chosen.position = Math.max(0, Math.min(T - 1, position));
  queue();
}
function scrollToPosition() {
  const box = $("text"), top = rowOf[chosen.position] * LINE;
  if (top < box.scrollTop + LINE || top > box.scrollTop + box.clientHeight - 3 * LINE) box.scrollTop = top - box.clientHeight / 3;
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
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea, .wide, .wide-figure, pre")) return;
  const row = rowOf[chosen.position];
  const moves = event.shiftKey
    ? { ArrowLeft: () => stepPosition(-1), ArrowRight: () => stepPosition(1), ArrowUp: () => row > 0 && moveTo(Math.min(rows[row - 1][0] + columnOf[chosen.position], rows[row - 1][1] - 1)), ArrowDown: () => row + 1 < rows.length && moveTo(Math.min(rows[row + 1][0] + columnOf[chosen.position], rows[row + 1][1] - 1)) }
    : { ArrowLeft: () => stepUnit(-1), ArrowRight: () => stepUnit(1) };
  if (!moves[event.key]) return;
  event.preventDefault();
  moves[event.key]();
  if (!event.shiftKey) return;
  isPinned = true;
  $("marker").classList.add("pinned");
  scrollToPosition();
});
let width = 0;
function fit() {
  if ($("text-box").clientWidth === width || isPrinting) return;
  width = $("text-box").clientWidth;
  layOut(width);
}
addEventListener("resize", fit);
isDark.addEventListener("change", queue);
let hadBars = false;
function print(isOn) {
  if (isOn) hadBars = $("bars").checked;
  isPrinting = isOn;
  $("bars").checked = isOn || hadBars;
  layOut(isOn ? Math.min(width, PRINTED_WIDTH) : width);
  draw();
}
addEventListener("beforeprint", () => print(true));
addEventListener("afterprint", () => print(false));
chosen.quantity = run().found[0]?.quantity ?? 0;
chosen.layer = run().found[0]?.layer ?? 0;
chosen.unit = run().found[0]?.unit ?? units()[0];
fillRun();
fit();
fill();
scrollToPosition();
})();
