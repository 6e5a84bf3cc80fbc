// The input of the first layer of a model with a convolution: the convolution over the latest characters of each text,
// and an optional highway layer.

struct Window {
  int64_t length, embedding;  // W characters, vectors of E numbers
  int64_t depth, width;       // W E and N, the outputs, padded
  const P* vectors;           // [V + 1, E]
  const P* kernel;            // panels of [N, W E]
  const float* bias;          // [width]
  const P* highway;           // panels of [2 N, N]; null: no highway layer
  const float* highway_bias;  // [2 width]
  int64_t* ids;               // [B, W], the oldest first
  P* embedded;                // [B, depth]
  P* output;                  // [B, width], of the convolution
  P* highway_output;          // [B, width]
};

// Appends a character to the window of one text.
static void shift_window(const Window& w, int64_t row, int64_t id) {
  int64_t* ids = w.ids + row * w.length;
  std::memmove(ids, ids + 1, (w.length - 1) * sizeof *ids);
  ids[w.length - 1] = id;
  P* to = w.embedded + row * w.depth;
  for (int64_t k = 0; k < w.length; ++k)
    std::memcpy(to + k * w.embedding, w.vectors + ids[k] * w.embedding, w.embedding * sizeof(P));
}

static void convolve(const Window& w, int64_t panel, int64_t row, int64_t rows, float* sums) {
  matmul(rows, w.depth, w.embedded + row * w.depth, w.depth, w.kernel + panel * w.depth * PANEL, false, sums);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < PANEL; j += LANES) {
      const int64_t unit = panel * PANEL + j;
      const V total = load(sums + r * PANEL + j) + load(w.bias + unit);
      store(w.output + (row + r) * w.width + unit, hyperbolic_tangent(total));
    }
}

static void apply_highway(const Window& w, int64_t panel, int64_t row, int64_t rows, float* sums) {
  float* values = sums + ROWS * PANEL;
  const P *x = w.output + row * w.width, *gates = w.highway + panel * 2 * w.width * PANEL;
  matmul(rows, w.width, x, w.width, gates, false, sums);
  matmul(rows, w.width, x, w.width, gates + w.width * PANEL, false, values);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < PANEL; j += LANES) {
      const int64_t unit = panel * PANEL + j, at = (row + r) * w.width + unit;
      const V input = load(w.output + at);
      const V gate = sigmoid(load(sums + r * PANEL + j) + load(w.highway_bias + unit));
      const V value = rectified(load(values + r * PANEL + j) + load(w.highway_bias + w.width + unit));
      store(w.highway_output + at, input + gate * (value - input));
    }
}
