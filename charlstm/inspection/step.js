"use strict";
addEventListener("error", (event) => { document.documentElement.dataset.error = event.message; });

const data = JSON.parse(document.getElementById("data").textContent);
const [nodes, steps, layers, units] = data.shape;
const bytes = Uint8Array.from(atob(data.values), (character) => character.charCodeAt(0));
const floats = new DataView(bytes.buffer);
const element = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const root = document.documentElement;

const state = { step: 0, layer: 0, unit: data.units[0], timer: null };
const value = (node, step = state.step) =>
  floats.getFloat32(4 * (((node * steps + step) * layers + state.layer) * units + state.unit), true);

function number(v) {
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  if (Math.abs(v) >= 1000) return v.toExponential(1).replaceAll("-", "−").replace("+", "");
  return (Math.abs(v) < 0.005 ? 0 : v).toFixed(2).replace("-", "−");
}

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const percent = (p) => (p >= 0.1 ? (100 * p).toFixed(0) : (100 * p).toFixed(1)) + "%";

// Diagram
function largest(node) {
  let most = 1;
  for (let t = 0; t < steps; t++) most = Math.max(most, Math.abs(value(node, t)) || 0);
  return Number.isFinite(most) ? most : 1;
}

function paint(target, node) {
  const v = value(node), strength = clamp(Math.abs(v) / largest(node), 0, 1) || 0;
  const color = `var(--${v < 0 ? "negative" : "positive"})`;
  target.style.setProperty("--color", `color-mix(in oklab, ${color} ${Math.round(40 + 60 * strength)}%, var(--zero))`);
  target.style.setProperty("--thickness", (2 + 5 * strength).toFixed(2));
}

function drawDiagram() {
  for (const group of all(".wire")) paint(group, Number(group.dataset.wire));
  for (const bore of all("[data-bore]")) paint(bore, Number(bore.dataset.bore));
  for (const shutter of all("[data-shutter]")) {
    const shift = 16 * clamp(value(Number(shutter.dataset.shutter)), 0, 1) * Number(shutter.dataset.side) || 0;
    shutter.style.transform = shutter.dataset.across === "y" ? `translateY(${shift}px)` : `translateX(${shift}px)`;
  }
  for (const target of all("[data-value]")) {
    const text = number(value(Number(target.dataset.value)));
    target.textContent = "operand" in target.dataset && text.startsWith("−") ? `(${text})` : text;
  }
  const x = element("x-value");
  if (x) {
    x.textContent = state.layer ? "h" : data.glyphs[state.step];
    element("x-source").textContent = state.layer ? `of layer ${state.layer}` : "";
  }
}

// Prediction
function drawPrediction() {
  const following = data.next[state.step], bits = data.bits[state.step], isScored = data.scored[state.step];
  element("surprise").replaceChildren();
  const sign = document.createElement("bdi");
  if (following) sign.textContent = following[0];
  if (!isScored) element("surprise").append("Next in the text: ", sign, ". It does not count in the loss, so its surprise says nothing.");
  else if (following && bits !== null) {
    const amount = document.createElement("b");
    amount.textContent = `${bits.toFixed(2)} bits`;
    element("surprise").append("Next in the text: ", sign, ", a surprise of ", amount, ` (probability ${percent(following[1])}).`);
  } else element("surprise").textContent = following ? "Its probability is not finite." : "The text ends here.";
  element("top").replaceChildren(...(isScored ? data.top[state.step] : []).map(([sign, p, actual]) => {
    const item = document.createElement("li");
    const label = document.createElement("bdi"), bar = document.createElement("i"), amount = document.createElement("span");
    label.textContent = sign;
    bar.style.width = `${100 * (p ?? 0)}%`;
    amount.textContent = p === null ? "NaN" : percent(p);
    item.className = actual ? "actual" : "";
    item.append(label, bar, amount);
    return item;
  }));
}

// Chart
const svg = (name, attributes, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, v] of Object.entries(attributes)) made.setAttribute(key, v);
  if (text !== undefined) made.textContent = text;
  return made;
};
const subscripted = (name) => name.replace("_t−1", "ₜ₋₁").replace("_t", "ₜ").replace("_", "");
const LEFT = 40, RIGHT = 56, ROW = 46;

function drawChart() {
  const width = Math.max(280, element("chart").clientWidth), pitch = (width - LEFT - RIGHT) / steps;
  const series = [...data.states, ...data.gates], height = ROW * series.length + 24;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "States and gates of the unit over the text" });
  picture.append(svg("rect", { class: "cursor", x: LEFT + state.step * pitch, width: pitch, y: 0, height: height - 4 }));
  series.forEach(({ node, name }, row) => {
    const isGate = row >= data.states.length, top = ROW * row + 5, full = ROW - 10;
    const base = isGate ? top + full : top + full / 2, scale = isGate ? full : full / 2 / largest(node);
    picture.append(svg("line", { class: "base", x1: LEFT, x2: width - RIGHT, y1: base, y2: base }));
    if (isGate) picture.append(svg("line", { class: "base", x1: LEFT, x2: width - RIGHT, y1: top, y2: top, "stroke-dasharray": "2 4" }));
    for (let t = 0; t < steps; t++) {
      const v = value(node, t), size = Math.min(full, Math.abs(v) * scale) || 0;
      picture.append(svg("rect", {
        class: v < 0 ? "bar-negative" : "bar-positive", x: LEFT + t * pitch + pitch * 0.08, width: pitch * 0.84,
        y: v < 0 ? base : base - size, height: size,
      }));
    }
    picture.append(svg("text", { class: "name", x: 2, y: top + full / 2 + 5 }, subscripted(name)));
    picture.append(svg("text", { class: "value", x: width - 2, y: top + full / 2 + 5 }, number(value(node))));
  });
  if (pitch >= 8) data.glyphs.forEach((sign, t) => {
    if (sign.length <= 2) picture.append(svg("text", { class: "axis", x: LEFT + (t + 0.5) * pitch, y: height - 8 }, sign));
  });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    go(Math.floor(((event.clientX - box.left) * (width / box.width) - LEFT) / pitch));
  });
  element("chart").replaceChildren(picture);
}

// State
function draw() {
  all("[data-character]").forEach((button, t) => {
    button.classList.toggle("ahead", t > state.step);
    button.tabIndex = t === state.step ? 0 : -1;
    if (t === state.step) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
  });
  element("unit").value = state.unit;
  element("layer").value = state.layer;
  drawDiagram();
  drawPrediction();
  drawChart();
  element("course-note").textContent = `Unit ${state.unit}${layers > 1 ? ` of layer ${state.layer + 1}` : ""}: state from −${number(largest(data.states[0].node))} to ${number(largest(data.states[0].node))}, gates from 0 to 1. Click to choose a character.`;
  Object.assign(root.dataset, { step: state.step + 1, layer: state.layer + 1, unit: state.unit });
  clearTimeout(announcement);
  announcement = setTimeout(announce, 250);
}

// Only once the keys rest: screen readers would fall behind, and browsers limit changes of the address.
let announcement = null;
function announce() {
  const listed = [...data.states, ...data.gates].map(({ node, name }) => `${name.replace("_t", "")} ${number(value(node))}`);
  element("live").textContent = state.timer ? "" : `Character ${state.step + 1} of ${steps}: ${data.glyphs[state.step]}. Unit ${state.unit}: ${listed.join(", ")}.`;
  history.replaceState(null, "", `#t=${state.step + 1}&layer=${state.layer + 1}&unit=${state.unit}`);
}

let movement = null;
function go(step, animate = true) {
  const target = clamp(step, 0, steps - 1);
  const moved = target !== state.step;
  state.step = target;
  root.classList.remove("moving");
  clearTimeout(movement);
  draw();
  if (moved && animate) {
    void root.offsetWidth;
    root.classList.add("moving");
    movement = setTimeout(() => root.classList.remove("moving"), 1600);
  }
}

function choose(layer, unit) {
  const change = layer !== state.layer;
  state.layer = clamp(layer || 0, 0, layers - 1);
  state.unit = change ? data.units[state.layer] : clamp(Math.round(unit) || 0, 0, units - 1);
  draw();
}

function play(on) {
  clearInterval(state.timer);
  state.timer = on ? setInterval(() => { if (state.step < steps - 1) go(state.step + 1); else play(false); }, 1400) : null;
  element("play").classList.toggle("playing", on);
  element("play").setAttribute("aria-label", on ? "Pause" : "Play");
  if (on && state.step === steps - 1) go(0);
  draw();
}

const actions = {
  ArrowRight: (repeat) => go(state.step + 1, !repeat), ArrowLeft: (repeat) => go(state.step - 1, !repeat),
  ArrowUp: () => choose(state.layer, state.unit - 1), ArrowDown: () => choose(state.layer, state.unit + 1),
  Home: () => go(0), End: () => go(steps - 1), " ": () => play(!state.timer),
};
addEventListener("keydown", (event) => {
  const inField = event.target.closest?.("input, select"), onButton = event.target.closest?.("button");
  if (event.ctrlKey || event.metaKey || event.altKey || inField || !actions[event.key]) return;
  if (event.key === " " && onButton && !onButton.dataset.character) return;
  event.preventDefault();
  actions[event.key](event.repeat);
  if (onButton?.dataset.character) all("[data-character]")[state.step].focus();
});
element("home").addEventListener("click", actions.Home);
element("end").addEventListener("click", actions.End);
element("next").addEventListener("click", () => go(state.step + 1));
element("previous").addEventListener("click", () => go(state.step - 1));
element("play").addEventListener("click", actions[" "]);
element("unit").addEventListener("input", (event) => { if (event.target.value !== "") choose(state.layer, Number(event.target.value)); });
element("layer").addEventListener("change", (event) => choose(Number(event.target.value), 0));
element("text").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) go(Number(button.dataset.character));
});
for (const equation of all("[data-equation]")) for (const kind of ["mouseenter", "mouseleave"])
  equation.addEventListener(kind, () => all(`[data-shape="${equation.dataset.equation}"]`).forEach((shape) => shape.classList.toggle("lit", kind === "mouseenter")));
addEventListener("resize", drawChart);

const asked = new URLSearchParams(location.hash.slice(1));
state.layer = clamp(Number(asked.get("layer") ?? 1) - 1 || 0, 0, layers - 1);
state.unit = clamp(Number(asked.get("unit") ?? data.units[state.layer]) || 0, 0, units - 1);
state.step = clamp(Number(asked.get("t") ?? 1) - 1 || 0, 0, steps - 1);
draw();
void root.offsetWidth;
root.dataset.ready = "";
