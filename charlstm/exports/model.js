"use strict";
// A character-level language model, one character at a time: new Model(data, bytes, step), with the step of its cell.
const sigmoid = (a) => 1 / (1 + Math.exp(-a));
const tanh = Math.tanh;
const relu = (a) => Math.max(0, a);

// Rows of int8 weights, each with a scale.
class Matrix {
  constructor(place, floats, integers) {
    Object.assign(this, place);
    this.scale = floats.subarray(place.scales, place.scales + place.rows);
    this.weights = integers.subarray(place.at, place.at + place.rows * place.columns);
  }
  // The product of row r with the vector v.
  dot(r, v) {
    const { weights, columns } = this, end = (r + 1) * columns;
    let sum = 0;
    for (let i = r * columns, j = 0; i < end; i++, j++) sum += weights[i] * v[j];
    return this.scale[r] * sum;
  }
  // out = bias + W v, for ``rows`` rows from ``first`` on; four rows at a time, which is faster.
  multiply(v, bias, out, first = 0, rows = this.rows) {
    const { weights, scale, columns } = this, end = first + rows;
    let r = first;
    for (; r + 3 < end; r += 4) {
      let a = 0, b = 0, c = 0, d = 0, i = r * columns, j = i + columns, k = j + columns, l = k + columns;
      for (let n = 0; n < columns; n++) {
        const x = v[n];
        a += weights[i++] * x;
        b += weights[j++] * x;
        c += weights[k++] * x;
        d += weights[l++] * x;
      }
      out[r] = bias[r] + scale[r] * a;
      out[r + 1] = bias[r + 1] + scale[r + 1] * b;
      out[r + 2] = bias[r + 2] + scale[r + 2] * c;
      out[r + 3] = bias[r + 3] + scale[r + 3] * d;
    }
    for (; r < end; r++) out[r] = bias[r] + this.dot(r, v);
  }
  row(r, out) {
    for (let j = 0; j < this.columns; j++) out[j] = this.scale[r] * this.weights[r * this.columns + j];
  }
}

class Model {
  constructor(data, bytes, step) {
    const { floats, integers } = data.weights;
    const all = new Float32Array(bytes, 0, floats), small = new Int8Array(bytes, 4 * floats, integers);
    const vector = ({ at, length }) => all.subarray(at, at + length);
    const matrix = (place) => new Matrix(place, all, small);
    const H = data.hiddenSize, gates = [...data.gates], G = gates.length;
    const byGate = (array) => Object.fromEntries(gates.map((k, n) => [k, array.subarray(n * H, (n + 1) * H)]));
    this.hiddenSize = H;
    this.parts = [...data.state];
    this.residual = data.residual;
    this.sumOutputs = data.sumOutputs;
    this.step = step;
    this.head = { weight: matrix(data.head.weight), bias: vector(data.head.bias) };
    this.size = this.head.weight.rows;
    this.vectors = data.vectors && matrix(data.vectors);
    this.convolution = data.convolution && {
      vectors: matrix(data.convolution.vectors),
      kernel: matrix(data.convolution.kernel),
      bias: vector(data.convolution.bias),
      length: data.convolution.length,
      highway: data.convolution.highway && {
        weight: matrix(data.convolution.highway.weight),
        bias: vector(data.convolution.highway.bias),
      },
    };
    this.layers = data.layers.map((layer) => {
      const x = new Float64Array(G * H), r = new Float64Array(G * H);
      const recurrent = matrix(layer.recurrent), recurrentBias = vector(layer.recurrentBias), sides = byGate(r);
      return {
        input: matrix(layer.input),
        bias: vector(layer.bias),
        x,
        byGate: byGate(x),
        parameters: Object.fromEntries(Object.entries(layer.parameters).map(([name, place]) => [name, vector(place)])),
        recurrent(chosen, v) {
          for (const k of chosen) recurrent.multiply(v, recurrentBias, r, gates.indexOf(k) * H, H);
          return sides;
        },
      };
    });
    this.logits = new Float64Array(this.size);
    this.reset();
  }

  // The state at the beginning of a text.
  reset() {
    const zeros = () => Object.fromEntries(this.parts.map((s) => [s, new Float64Array(this.hiddenSize)]));
    this.states = this.layers.map(zeros);
    this.spare = this.layers.map(zeros);
    this.window = Array(this.convolution ? this.convolution.length - 1 : 0).fill(this.size);
  }

  // A copy of the state, and back to it.
  save() {
    const copies = this.states.map((one) => Object.fromEntries(this.parts.map((s) => [s, one[s].slice()])));
    return { states: copies, window: [...this.window] };
  }
  restore(saved) {
    saved.states.forEach((one, n) => this.parts.forEach((s) => this.states[n][s].set(one[s])));
    this.window = [...saved.window];
  }

  // Read a character, or ``size`` for none, and return the logits of the next one, valid until the next call.
  read(id) {
    let v = this.#input(id), total = null;
    this.layers.forEach((layer, n) => {
      if (v) layer.input.multiply(v, layer.bias, layer.x);
      const state = this.states[n], next = this.spare[n];
      this.step(this.hiddenSize, layer.byGate, state, next, layer.parameters, layer.recurrent);
      this.states[n] = next;
      this.spare[n] = state;
      const h = next[this.parts[0]];
      v = this.residual && n ? h.map((value, u) => value + v[u]) : h;
      total = this.sumOutputs && n ? h.map((value, u) => value + total[u]) : v;
    });
    this.head.weight.multiply(total, this.head.bias, this.logits);
    return this.logits;
  }

  // The vector that the first layer reads; without one, its input side is set from a column of its weights.
  #input(id) {
    if (this.convolution) return this.#convolve(id);
    if (this.vectors) {
      const v = new Float64Array(this.vectors.columns);
      if (id < this.size) this.vectors.row(id, v);
      return v;
    }
    const { input, bias, x } = this.layers[0], { weights, scale, columns, rows } = input;
    for (let r = 0; r < rows; r++) x[r] = bias[r] + (id < this.size ? scale[r] * weights[r * columns + id] : 0);
    return null;
  }

  #convolve(id) {
    const { vectors, kernel, bias, length, highway } = this.convolution, N = bias.length;
    const ids = [...this.window, id], x = Float64Array.from(bias), v = new Float64Array(vectors.columns);
    ids.forEach((one, k) => {
      if (one >= this.size) return;
      vectors.row(one, v);
      for (let n = 0; n < N; n++) x[n] += kernel.dot(n * length + k, v);
    });
    this.window = ids.slice(1);
    for (let n = 0; n < N; n++) x[n] = tanh(x[n]);
    if (!highway) return x;
    const sides = new Float64Array(2 * N);
    highway.weight.multiply(x, highway.bias, sides);
    return x.map((value, n) => value + sigmoid(sides[n]) * (relu(sides[N + n]) - value));
  }
}

// The random numbers of torch.Generator on the CPU, uniform in [0, 1): those of ``charlstm sample`` with the same seed.
class Random {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed % 4294967296;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.at = 624;
  }
  #word() {
    const { state } = this;
    if (this.at === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.at = 0;
    }
    let y = state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }
  uniform() {
    const high = this.#word() & 0x1fffff;
    return (high * 4294967296 + this.#word()) / 9007199254740992;
  }
}

// The probabilities of the logits at a temperature above 0, and the id that a uniform number draws.
function softmax(logits, temperature = 1) {
  let largest = -Infinity, sum = 0;
  for (const logit of logits) if (logit > largest) largest = logit;
  const p = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  for (const value of p) sum += value;
  return p.map((value) => value / sum);
}
const argmax = (logits) => logits.reduce((best, logit, id) => (logit > logits[best] ? id : best), 0);
function draw(logits, temperature, uniform) {
  if (temperature === 0) return argmax(logits);
  const p = softmax(logits, temperature);
  let sum = 0;
  for (let id = 0; id < p.length; id++) if ((sum += p[id]) > uniform) return id;
  return p.length - 1;
}

// The bytes of a compressed array in base64.
async function decompress(base64) {
  const binary = atob(base64), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}
