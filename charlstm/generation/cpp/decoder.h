// Sampling text: for each character the steps of a stack of layers, the head, and the draw of the next character.
// One library for all cells: what depends on the cell is called through Sampling::run_stage.

#include <algorithm>
#include <vector>

struct Sampling {
  int64_t layers, B, H, V, threads, by_rows;
  int64_t gates, stages, products;  // of the cell: rows of a weight matrix over H, stages of a step, sums of a tile
  void (*run_stage)(int64_t stage, const void* layer, int64_t t, int64_t panel, int64_t row, int64_t rows, float* sums);
  int64_t turn;    // number of the first step: its parity says which half of each layer's pairs holds the state
  int64_t given;   // characters [given, B] that are read first; none: the ones written last are read
  int64_t count;   // characters [count, B] that are then written, at least one
  int64_t greedy, top_k;
  const double* settings;  // temperature, top_p, min_p
  const void* const* layer;   // the buffers of each, as run_stage reads them
  P* const* inputs;           // of each layer: its input side [B, G H]; unused where it reads ids
  const P* const* outputs;    // of each layer: pairs [2, B, H] of its output
  const Window* window;           // what the first layer reads; null: the characters themselves
  const P* const* input_weights;  // of the layers that read no ids: panels of [G H, H], or of [G H, width]
  P* with_inputs;                 // [layers, B, H], outputs with their inputs added to them; null: nothing is added
  const P* head;                  // panels of [V, H]
  const float* head_bias;         // [V padded]
  float* logits;                  // [B, V padded]
  int64_t* ids;                   // [B], read by the first layer
  const int64_t* read;            // [given, B]
  const double* chances;          // [count, B], uniform in [0, 1)
  int64_t* written;               // [count, B]
  float* log_probabilities;       // [count, B], natural, at temperature 1
};

// p = softmax(logits / temperature), cut as asked; the first character at which the sum of p exceeds chance of it all.
static int64_t choose(const Sampling& w, const float* logits, double chance, std::vector<float>& p,
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
  const auto by_rank = [&](int64_t a, int64_t b) { return p[a] > p[b] || (p[a] == p[b] && a < b); };
  if (w.top_k && w.top_k < V) {
    std::vector<float> ranked(p.begin(), p.begin() + V);
    std::nth_element(ranked.begin(), ranked.begin() + w.top_k - 1, ranked.end(), [](float a, float b) { return a > b; });
    const float least = ranked[w.top_k - 1];
    for (int64_t v = 0; v < V; ++v)
      if (p[v] < least) p[v] = 0;
  }
  if (top_p < 1) {
    order.clear();
    for (int64_t v = 0; v < V; ++v)
      if (p[v] > 0) order.push_back(v);
    // A heap, not a sort: of thousands of characters a few make up the share.
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
  const double goal = chance * total();
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

static void sample_along(const Sampling& w) {
  auto barrier = std::make_unique<Barrier>();
  Barrier* together = barrier.get();
  parallel(w.threads, [&w, together](int id, int all) {
    const bool by_rows = w.by_rows;
    const int64_t row0 = by_rows ? share(w.B, id, all) : 0, row1 = by_rows ? share(w.B, id + 1, all) : w.B;
    const int64_t own0 = share(w.B, id, all), own1 = share(w.B, id + 1, all);
    const int64_t wide = padded(w.V);
    std::vector<float> space((w.products + 1) * ROWS * PANEL + 16);
    float* sums = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(space.data()) + 63) & ~uintptr_t{63});
    std::vector<float> p;
    std::vector<int64_t> order;
    const auto gather = [&] {
      if (!by_rows) together->wait(all);
    };
    const auto tiles = [&](int64_t panels, auto&& run) {
      const int64_t first = by_rows ? 0 : share(panels, id, all), last = by_rows ? panels : share(panels, id + 1, all);
      for (int64_t panel = first; panel < last; ++panel)
        for (int64_t row = row0; row < row1; row += ROWS) run(panel, row, std::min(row1 - row, ROWS));
    };
    const int64_t first = w.given ? w.given - 1 : 0;  // the step after which the first character is drawn
    for (int64_t step = 0; step < first + w.count; ++step) {
      const int64_t t = w.turn + step;
      if (step < w.given)
        for (int64_t row = own0; row < own1; ++row) w.ids[row] = w.read[step * w.B + row];
      if (w.window)
        for (int64_t row = own0; row < own1; ++row) move_on(*w.window, row, w.ids[row]);
      gather();
      const P* below = nullptr;
      if (w.window) {
        const Window& window = *w.window;
        const auto run = [&](auto&& stage) {
          tiles(window.width / PANEL,
                [&](int64_t panel, int64_t row, int64_t rows) { stage(window, panel, row, rows, sums); });
          gather();
        };
        run(convolve);
        if (window.highway) run(carry);
        below = window.highway ? window.carried : window.found;
      }
      for (int64_t number = 0; number < w.layers; ++number) {
        if (below) {
          const int64_t deep = number ? w.H : w.window->width;
          P* x = w.inputs[number];
          tiles(w.H / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
            for (int64_t gate = 0; gate < w.gates; ++gate) {
              const P* panels = w.input_weights[number] + (panel * w.gates + gate) * deep * PANEL;
              product(rows, deep, below + row * deep, deep, panels, false, sums);
              for (int64_t r = 0; r < rows; ++r)
                for (int64_t j = 0; j < PANEL; j += LANES)
                  store(x + ((row + r) * w.gates + gate) * w.H + panel * PANEL + j, load(sums + r * PANEL + j));
            }
          });
        }
        for (int64_t stage = 0; stage < w.stages; ++stage) {
          if (stage) gather();
          tiles(w.H / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
            w.run_stage(stage, w.layer[number], t, panel, row, rows, sums);
          });
        }
        const P* h = w.outputs[number] + ((t + 1) & 1) * w.B * w.H;
        if (number && w.with_inputs) {  // a buffer for each layer: other threads may still read what is below
          P* y = w.with_inputs + number * w.B * w.H;
          tiles(w.H / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
            for (int64_t r = row; r < row + rows; ++r)
              for (int64_t j = 0; j < PANEL; j += LANES) {
                const int64_t at = r * w.H + panel * PANEL + j;
                store(y + at, load(below + at) + load(h + at));
              }
          });
          h = y;
        }
        below = h;
        gather();
      }
      if (step < first) continue;
      tiles(wide / PANEL, [&](int64_t panel, int64_t row, int64_t rows) {
        product(rows, w.H, below + row * w.H, w.H, w.head + panel * w.H * PANEL, false, sums);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t j = 0; j < PANEL; j += LANES) {
            const int64_t v = panel * PANEL + j;
            store(w.logits + (row + r) * wide + v, load(sums + r * PANEL + j) + load(w.head_bias + v));
          }
      });
      gather();
      for (int64_t row = own0; row < own1; ++row) {
        const int64_t at = (step - first) * w.B + row;
        const float* logits = w.logits + row * wide;
        const int64_t chosen = choose(w, logits, w.chances[at], p, order);
        w.written[at] = w.ids[row] = chosen;
        w.log_probabilities[at] = log_probability(w, logits, chosen);
      }
    }
    release(w.head);
  });
}

extern "C" void sample_text(const Sampling* w) { sample_along(*w); }
