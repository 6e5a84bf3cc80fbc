// The page: it writes text with the model above, shows what it expects, and lets the reader choose.
(async () => {
const root = document.documentElement, $ = (id) => document.getElementById(id);
function fail(message) {
  root.dataset.error = message;
  $("problem").textContent = `This page cannot run: ${message}. It needs a browser of 2023 or later.`;
}
addEventListener("error", (event) => fail(event.message));
addEventListener("unhandledrejection", (event) => fail(event.reason?.message ?? String(event.reason)));

const data = JSON.parse($("data").textContent), { symbols, backward, isBytes, unit } = data;
const model = new Model(data.model, await decompress(data.model.weights.data), step);
const V = symbols.length, EVERY = 32, SHOWN = 8, SLICE = 12, INTERVAL = 16, LAST = 200;
const PACES = [[3, "slowly"], [12, "calmly"], [40, "as one reads"], [150, "quickly"], [1e9, "at full speed"]];
const SIGNS = { "\n": "↵", "\t": "⇥", " ": "␣", "\r": "↩" };
const NAMES = { "\n": "line end", "\t": "tab", " ": "space", "\r": "carriage return" };

// The text in the order in which the model reads it; the predictions before each symbol and of the next one; and the
// state after every 32 symbols.
let ids = [], predictions = [], saved = [], given = 0;
let queue = [], target = 0, random = new Random(0), isRunning = false, isOver = false;
let hovered = null, pinned = null, turn = 0, credit = 0, last = 0, shownTop = null, offsets = [];

const temperature = () => Number($("temperature").value);
const pace = () => PACES[Number($("pace").value)];

// What is typed, with the changes that the training text had.
function prepare(text) {
  if (data.composed) text = text.normalize("NFC");
  return data.lowercase ? text.replaceAll("Σ", "σ").toLowerCase() : text;
}
function encode(given) {
  const text = prepare(given);
  const known = data.idOf ??= new Map(symbols.map((symbol, id) => [symbol, id]));
  const parts = isBytes ? Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)) : [...text];
  const missing = [...new Set(parts.filter((part) => !known.has(part)))];
  const listed = missing.slice(0, 8).map(show).join(" ");
  $("unknown").textContent = missing.length
    ? `Left out, since the model has never seen ${missing.length > 1 ? "them" : "it"}: ${listed}${missing.length > 8 ? " …" : ""}`
    : "";
  const encoded = parts.filter((part) => known.has(part)).map((part) => known.get(part));
  return backward ? encoded.reverse() : encoded;
}
function show(symbol) {
  if (symbol in SIGNS) return SIGNS[symbol];
  if (isBytes && symbol > "~") return symbol.charCodeAt(0).toString(16).toUpperCase();
  if (/^\p{M}$/u.test(symbol)) return "◌" + symbol;
  const isHidden = /^[\p{C}\p{Z}]$/u.test(symbol) && !/^\p{Emoji}$/u.test(symbol);
  return isHidden ? `U+${symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}` : symbol;
}
const name = (id) => NAMES[symbols[id]] ?? `“${show(symbols[id])}”`;

// The most probable symbols, at the temperature of the moment, and the surprise of each at temperature 1.
function predict() {
  const natural = softmax(model.logits), T = temperature();
  const p = T > 0 ? softmax(model.logits, T) : new Float64Array(V), top = [];
  if (T === 0) p[argmax(model.logits)] = 1;
  for (let id = 0; id < V; id++) {
    if (top.length === SHOWN && natural[id] <= natural[top[SHOWN - 1]]) continue;
    let at = top.length;
    while (at > 0 && natural[top[at - 1]] < natural[id]) at--;
    top.splice(at, 0, id);
    if (top.length > SHOWN) top.pop();
  }
  return { top, p: top.map((id) => p[id]), natural, surprise: 0 };
}
function read(id) {
  if (ids.length % EVERY === 0) saved.push(model.save());
  const before = predictions.at(-1);
  if (before.natural) before.surprise = -Math.log2(before.natural[id]);
  before.natural = null;
  model.read(id);
  ids.push(id);
  if (isAtEnd()) beginText();
  predictions.push(predict());
}
// A text begins after a lead-in, a passage of the training text that is not shown: a model hardly knows the zero state.
function beginText() {
  const { leadIns } = data;
  model.reset();
  model.read(V);
  if (leadIns.length) leadIns[seed() % leadIns.length].forEach((id) => model.read(id));
}
function seed() {
  return Math.max(0, Math.floor(Number($("seed").value)) || 0);
}
// Whether an independent text has just ended; the next one begins without a memory of it.
function isAtEnd() {
  const { end } = data, from = ids.length - end.length;
  return end.length > 0 && end.every((one, n) => ids[from + n] === one);
}
function clear() {
  beginText();
  ids = [];
  saved = [];
  predictions = [predict()];
}
// Back to the first ``count`` symbols.
function rewind(count) {
  if (count === 0) return clear();
  const before = ids.slice(0, count), block = Math.ceil(count / EVERY) - 1;
  model.restore(saved[block]);
  ids = before.slice(0, block * EVERY);
  saved.length = block;
  predictions.length = ids.length + 1;
  before.slice(ids.length).forEach(read);
}

function begin() {
  if (!$("keep").checked && ids.length) $("seed").value = Math.floor(Math.random() * 1e6);
  random = new Random(seed());
  clear();
  queue = encode($("prime").value);
  given = queue.length;
  isOver = false;
  pinned = hovered = null;
  run(lengthWanted());
}
const lengthWanted = () => Math.min(20000, Math.max(1, Math.round(Number($("length").value) || data.length)));
function run(more) {
  if (ids.length > given && isAtEnd()) queue = encode($("prime").value);
  target = Math.max(given, ids.length + queue.length) + more;
  isRunning = true;
  credit = 0;
  last = performance.now();
  clearTimeout(turn);
  tick();
}
function halt() {
  isRunning = false;
  clearTimeout(turn);
  render();
}
function writeOne() {
  read(draw(model.logits, temperature(), random.uniform()));
  if (!isAtEnd()) return;
  if ($("one").checked) {
    rewind(ids.length - data.end.length);
    isOver = true;
  } else if (ids.length < target) queue = encode($("prime").value);
}
const isDone = () => ids.length >= target && (!data.end.length || isAtEnd() || ids.length >= target + LAST);
function tick() {
  const start = performance.now();
  credit = Math.min(credit + ((start - last) / 1000) * pace()[0], Math.max(1, pace()[0] / 20));
  last = start;
  while (isRunning && performance.now() - start < SLICE) {
    if (queue.length) read(queue.shift());
    else if (isOver || isDone()) isRunning = false;
    else if (credit >= 1) {
      writeOne();
      credit -= 1;
    } else break;
  }
  render();
  if (isRunning) turn = setTimeout(tick, INTERVAL);
}
// Write a symbol that the reader has chosen: the next one, or in place of the pinned one and all that follow.
function choose(id) {
  if (pinned !== null) {
    rewind(pinned);
    given = Math.min(given, pinned);
    target = Math.max(target, pinned + 1);
  }
  queue = [];
  const wasPinned = pinned !== null;
  pinned = hovered = null;
  isOver = false;
  read(id);
  if (wasPinned) run(Math.max(1, target - ids.length));
  else halt();
}

// The text in reading order, and where each symbol begins in it.
function layOut() {
  const order = backward ? [...ids].reverse() : ids, decoder = isBytes && new TextDecoder("utf-8", { ignoreBOM: true });
  const split = backward ? ids.length - Math.min(given, ids.length) : Math.min(given, ids.length);
  let text = "", at = 0;
  offsets = [];
  order.forEach((id, n) => {
    if (n === split) at = text.length;
    offsets.push(text.length);
    text += isBytes ? decoder.decode(Uint8Array.of(symbols[id].charCodeAt(0)), { stream: true }) : symbols[id];
  });
  if (split === order.length) at = text.length;
  if (isBytes && !isRunning) text += decoder.decode();
  offsets.push(text.length);
  return [text.slice(0, at), text.slice(at)];
}
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function render() {
  const box = $("text"), atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const [first, rest] = layOut();
  put(backward ? $("written") : $("given"), first);
  put(backward ? $("given") : $("written"), rest);
  root.classList.toggle("running", isRunning);
  $("write").textContent = isRunning ? "Stop" : "Write";
  $("continue").disabled = isRunning || isOver || !ids.length;
  const written = Math.max(0, ids.length - given), plural = written === 1 ? "" : "s";
  put($("state"), ids.length < given ? "reading …" : `${written.toLocaleString("en")} ${unit}${plural}`);
  if (atEnd && isRunning && !backward) box.scrollTop = box.scrollHeight;
  renderPrediction();
}
function renderPrediction() {
  const at = pinned ?? hovered, shown = at === null ? ids.length : at, one = predictions[shown];
  if (!one) return;
  const actual = at === null ? null : ids[at];
  put($("place"), actual === null ? data.following : `In place of ${name(actual)}`);
  if (shownTop !== one) {
    shownTop = one;
    const rows = $("top").children;
    while (rows.length < one.top.length) $("top").append(row());
    while (rows.length > one.top.length) rows[rows.length - 1].remove();
    one.top.forEach((id, n) => {
      const button = rows[n].firstChild, [sign, track, percent] = button.children, p = one.p[n];
      button.dataset.id = id;
      button.classList.toggle("actual", id === actual);
      button.setAttribute("aria-label", `${name(id)}, ${(100 * p).toFixed(1)} percent: write it`);
      put(sign, show(symbols[id]));
      track.firstChild.style.transform = `scaleX(${p})`;
      put(percent, p >= 0.0995 ? `${Math.round(100 * p)}%` : `${(100 * p).toFixed(1)}%`);
    });
  }
  put($("surprise"), actual === null ? "" : `${name(actual)} was a surprise of ${one.surprise.toFixed(1)} bits`);
  mark(at);
}
function row() {
  const item = document.createElement("li");
  item.innerHTML = '<button type="button"><b></b><span class="track"><i></i></span><span></span></button>';
  return item;
}

// The symbol at a place, as its index in ``ids``; and its rectangle.
const position = (n) => (backward ? ids.length - 1 - n : n);
function rangeOf(at) {
  const n = position(at), start = offsets[n];
  let end = start;
  for (let k = n + 1; k < offsets.length && end === start; k++) end = offsets[k];
  const [first, second] = backward ? [$("written"), $("given")] : [$("given"), $("written")];
  const length = first.textContent.length, range = document.createRange();
  const node = (start < length ? first : second).firstChild, shift = start < length ? 0 : length;
  if (!node) return null;
  range.setStart(node, Math.min(start - shift, node.length));
  range.setEnd(node, Math.min(end - shift, node.length));
  return range;
}
function mark(at) {
  const marker = $("marker"), rectangles = at === null ? [] : rangeOf(at)?.getClientRects() ?? [];
  marker.hidden = !rectangles.length;
  if (marker.hidden) return;
  const box = $("page").getBoundingClientRect(), one = rectangles[0];
  Object.assign(marker.style, {
    left: `${one.left - box.left}px`,
    top: `${one.top - box.top}px`,
    width: `${Math.max(6, one.width)}px`,
    height: `${one.height}px`,
  });
  marker.classList.toggle("pinned", pinned !== null);
}
function symbolAt(x, y) {
  let node, offset;
  if (document.caretPositionFromPoint) ({ offsetNode: node, offset } = document.caretPositionFromPoint(x, y) ?? {});
  else ({ startContainer: node, startOffset: offset } = document.caretRangeFromPoint(x, y) ?? {});
  const parts = backward ? ["written", "given"] : ["given", "written"];
  const part = parts.findIndex((id) => node && $(id).contains(node));
  if (part < 0 || node.nodeType !== Node.TEXT_NODE) return null;
  const at = offset + (part ? $(parts[0]).textContent.length : 0);
  let n = offsets.findIndex((begin) => begin > at);
  n = n < 0 ? ids.length - 1 : n - 1;
  for (const k of [n, n - 1]) {
    if (k < 0 || k >= ids.length) continue;
    for (const one of rangeOf(position(k))?.getClientRects() ?? [])
      if (x >= one.left - 1 && x <= one.right + 1 && y >= one.top && y <= one.bottom) return position(k);
  }
  return null;
}

$("write").addEventListener("click", () => (isRunning ? halt() : begin()));
$("continue").addEventListener("click", () => {
  pinned = hovered = null;
  run(lengthWanted());
});
$("copy").addEventListener("click", async () => {
  const text = $("page").innerText;
  try {
    await navigator.clipboard.writeText(text);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("page"));
    $("copy").textContent = "Selected";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});
$("top").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) choose(Number(button.dataset.id));
});
$("temperature").addEventListener("input", () => {
  showSettings();
  if (!predictions.length) return;
  predictions[ids.length] = { ...predictions[ids.length], ...predict() };
  renderPrediction();
});
$("pace").addEventListener("input", showSettings);
$("seed").addEventListener("input", () => ($("keep").checked = true));
$("prime").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) begin();
});
function showSettings() {
  put($("degrees"), temperature().toFixed(2));
  put($("speed"), pace()[1]);
}
const page = $("page"), box = $("text");
page.addEventListener("pointermove", (event) => {
  if (isRunning || pinned !== null || event.pointerType === "touch") return;
  const at = symbolAt(event.clientX, event.clientY);
  if (at !== hovered) {
    hovered = at;
    renderPrediction();
  }
});
page.addEventListener("pointerleave", () => {
  hovered = null;
  renderPrediction();
});
page.addEventListener("click", (event) => {
  if (!getSelection().isCollapsed) return;
  const at = symbolAt(event.clientX, event.clientY);
  pinned = at === pinned ? null : at;
  if (pinned !== null) halt();
  renderPrediction();
});
box.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.key === "Escape") pinned = null;
  else if (event.key in steps && ids.length) {
    if (isRunning) halt();
    const n = pinned === null ? (event.key === "ArrowLeft" ? ids.length : -1) : position(pinned);
    pinned = position(Math.min(ids.length - 1, Math.max(0, n + steps[event.key])));
    event.preventDefault();
  } else return;
  renderPrediction();
});
addEventListener("resize", () => mark(pinned ?? hovered));

if (backward) page.prepend($("cursor"), $("written"));
$("prime").value = data.prime;
$("temperature").value = data.temperature;
$("pace").value = 2;
$("length").value = data.length;
$("seed").value = data.seed;
showSettings();
begin();
root.dataset.ready = "";
})();
