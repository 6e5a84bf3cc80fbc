// Samples text: for each character the steps of a stack of layers, the head, and the draw of the next character.
// One library for all cells: code that depends on the cell is called through Sampling::run_stage.

#include <algorithm>
#include <vector>

struct Sampling {
  int64_t layers, B, H, V, threads, by_rows;
  int64_t gates, stages, matmuls;  // of the cell: rows of a weight matrix / H, stages of a step, matmuls of a tile
  void (*run_stage)(int64_t stage, const void* layer, int64_t t, int64_t panel, int64_t row, int64_t rows, float* sums);
  int64_t step;           // index of the first step: its parity selects the half of each pair that holds the state
  int64_t prompt_length;  // characters [prompt_length, B] to encode first; 0: encode those sampled last
  int64_t count;          // characters [count, B] to sample then, at least one
  int64_t greedy, top_k;
  const double* settings;  // temperature, top_p, min_p
  const void* const* layer;   // the buffers of each layer, in the layout of run_stage
  P* const* inputs;           // of each layer: its input side [B, G H]; unused if its input is ids
  const P* const* outputs;    // of each layer: pairs [2, B, H] of its output
  const Window* window;           // the input of the first layer; null: the characters themselves
  const P* const* input_weights;  // of layers whose input is not ids: panels of [G H, H] or [G H, width]
  P* sums;                        // [layers, B, H], of the outputs of the layers up to each; null: not needed
  int64_t residual;               // whether a layer reads the sum of the outputs below it, not the output of the last
  const P* head;                  // panels of [V, H]
  const float* head_bias;         // [V padded]
  float* logits;                  // [B, V padded]
  int64_t* ids;                   // [B], the input of the first layer
  const int64_t* prompt;          // [prompt_length, B]
  const double* draws;            // [count, B], uniform in [0, 1)
  int64_t* sampled;               // [count, B]
  float* log_probabilities;       // [count, B], natural, at temperature 1
};

// p = softmax(logits / temperature), filtered; returns the first character at which the cumulative p exceeds draw times
// its sum.
static int64_t choose(const Sampling& w, const float* logits, double draw, std::vector<float>& p,
                      std::vector<int64_t>& order) {
  const int64_t V = w.V;
  const double temperature = w.settings[0], top_p = w.settings[1], min_p = w.settings[2];
  int64_t best = 0;
  for (int64_t v = 1; v < V; ++v)
    if (logits[v] > logits[best]) best = v;
  if (w.greedy) return best;
  const float scale = static_cast<float>(1 / temperature), high = logits[best];
  p.resize(padded(V));
  for (int64_t v = 0; v < V; v += LANES) store(&p[v], exponential((load(logits + v) - high) * scale));
  const auto total = [&] {
    double sum = 0;
    for (int64_t v = 0; v < V; ++v) sum += p[v];
    return sum;
  };
  const auto by_rank = [&](int64_t a, int64_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); };
  if (w.top_k && w.top_k < V) {
    std::vector<float> ranked(logits, logits + V);
    std::nth_element(ranked.begin(), ranked.begin() + w.top_k - 1, ranked.end(), [](float a, float b) { return a > b; });
    const float threshold = ranked[w.top_k - 1];
    for (int64_t v = 0; v < V; ++v)
      if (logits[v] < threshold) p[v] = 0;
  }
  if (top_p < 1) {
    order.clear();
    for (int64_t v = 0; v < V; ++v)
      if (p[v] > 0) order.push_back(v);
    // A heap, not a sort: of thousands of characters a few reach top_p.
    const auto after = [&](int64_t a, int64_t b) { return by_rank(b, a); };
    std::make_heap(order.begin(), order.end(), after);
    const double limit = top_p * total();
    auto rest = order.end();
    for (double before = 0; before < limit && rest != order.begin(); before += p[*rest])
      std::pop_heap(order.begin(), rest--, after);
    std::for_each(order.begin(), rest, [&](int64_t v) { p[v] = 0; });
  }
  if (min_p > 0)
    for (int64_t v = 0; v < V; ++v)
      if (p[v] < static_cast<float>(min_p) * p[best]) p[v] = 0;
  const double goal = draw * total();
  double sum = 0;
  int64_t last = best;
  for (int64_t v = 0; v < V; ++v) {
    if (p[v] <= 0) continue;
    sum += p[v];
    last = v;
    if (sum > goal) break;
  }
  return last;
}

static float log_probability(const Sampling& w, const float* logits, int64_t chosen) {
  float high = logits[0];
  for (int64_t v = 1; v < w.V; ++v) high = std::max(high, logits[v]);
  V sums{};
  int64_t v = 0;
  for (; v + LANES <= w.V; v += LANES) sums = sums + exponential(load(logits + v) - high);
  alignas(64) float parts[LANES], rest[LANES];
  store(parts, sums);
  double sum = 0;
  for (int64_t i = 0; i < LANES; ++i) sum += parts[i];
  if (v < w.V) store(rest, exponential(load(logits + v) - high));
  for (int64_t i = 0; v + i < w.V; ++i) sum += rest[i];
  return static_cast<float>(logits[chosen] - high - __builtin_log(sum));
}

static void sample_steps(const Sampling& w) {
  auto barrier = std::make_unique<Barrier>();
  Barrier* shared_barrier = barrier.get();
  parallel(w.threads, [&w, shared_barrier](int id, int all) {
    const bool by_rows = w.by_rows;
    const int64_t row0 = by_rows ? partition(w.B, id, all) : 0, row1 = by_rows ? partition(w.B, id + 1, all) : w.B;
    const int64_t begin_row = partition(w.B, id, all), end_row = partition(w.B, id + 1, all);
    const int64_t padded_vocabulary = padded(w.V);
    std::vector<float> space((w.matmuls + 1) * ROWS * PANEL + 16);
    float* sums = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(space.data()) + 63) & ~uintptr_t{63});
    std::vector<float> p;
    std::vector<int64_t> order;
    const auto synchronize = [&] {
      if (!by_rows) shared_barrier->wait(all);
    };
    const auto tiles = [&](int64_t panels, auto&& run) {
      const int64_t first = by_rows ? 0 : partition(panels, id, all), last = by_rows ? panels : partition(panels, id + 1, all);
      for (int64_t panel = first; panel < last; ++panel)
        for (int64_t row = row0; row < row1; row += ROWS) run(panel, row, std::min(row1 - row, ROWS));
    };
    // the step after which the first character is sampled
    const int64_t first = w.prompt_length ? w.prompt_length - 1 : 0;
    for (int64_t step = 0; step < first + w.count; ++step) {
      const int64_t t = w.step + step;
      if (step < w.prompt_length)
        for (int64_t row = begin_row; row < end_row; ++row) w.ids[row] = w.prompt[step * w.B + row];
      if (w.window)
        for (int64_t row = begin_row; row < end_row; ++row) shift_window(*w.window, row, w.ids[row]);
      synchronize();
      const P* below = nullptr;  // the input of the next layer
      const P* total = nullptr;  // the input of the head
      if (w.window) {
        const Window& window = *w.window;
        const auto run = [&](auto&& stage) {
          tiles(window.width / PANEL,
                [&](int64_t panel, int64_t row, int64_t rows) { stage(window, panel, row, rows, sums); });
          synchronize();
        };
        run(convolve);
        if (window.highway) run(apply_highway);
        below = window.highway ? window.highway_output : window.output;
      }
      for (int64_t layer_index = 0; layer_index < w.layers; ++layer_index) {
        if (below) {
          const int64_t input_size = layer_index ? w.H : w.window->width;
          P* x = w.inputs[layer_index];
          tiles(w.H / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
            for (int64_t gate = 0; gate < w.gates; ++gate) {
              const P* panels = w.input_weights[layer_index] + (panel * w.gates + gate) * input_size * PANEL;
              matmul(rows, input_size, below + row * input_size, input_size, panels, false, sums);
              for (int64_t r = 0; r < rows; ++r)
                for (int64_t j = 0; j < PANEL; j += LANES)
                  store(x + ((row + r) * w.gates + gate) * w.H + panel * PANEL + j, load(sums + r * PANEL + j));
            }
          });
        }
        for (int64_t stage = 0; stage < w.stages; ++stage) {
          if (stage) synchronize();
          tiles(w.H / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
            w.run_stage(stage, w.layer[layer_index], t, panel, row, rows, sums);
          });
        }
        const P* h = w.outputs[layer_index] + ((t + 1) & 1) * w.B * w.H;
        const P* sum = h;
        if (layer_index && w.sums) {  // a buffer for each layer: other threads may still read `total`
          P* y = w.sums + layer_index * w.B * w.H;
          tiles(w.H / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
            for (int64_t r = row; r < row + rows; ++r)
              for (int64_t j = 0; j < PANEL; j += LANES) {
                const int64_t at = r * w.H + panel * PANEL + j;
                store(y + at, load(total + at) + load(h + at));
              }
          });
          sum = y;
        }
        total = sum;
        below = w.residual ? total : h;
        synchronize();
      }
      if (step < first) continue;
      tiles(padded_vocabulary / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
        matmul(rows, w.H, total + row * w.H, w.H, w.head + panel * w.H * PANEL, false, sums);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t j = 0; j < PANEL; j += LANES) {
            const int64_t v = panel * PANEL + j;
            store(w.logits + (row + r) * padded_vocabulary + v, load(sums + r * PANEL + j) + load(w.head_bias + v));
          }
      });
      synchronize();
      for (int64_t row = begin_row; row < end_row; ++row) {
        const int64_t at = (step - first) * w.B + row;
        const float* logits = w.logits + row * padded_vocabulary;
        const int64_t chosen = choose(w, logits, w.draws[at], p, order);
        w.sampled[at] = w.ids[row] = chosen;
        w.log_probabilities[at] = log_probability(w, logits, chosen);
      }
    }
    release(w.head);
  });
}

extern "C" void sample_text(const Sampling* w) { sample_steps(*w); }
