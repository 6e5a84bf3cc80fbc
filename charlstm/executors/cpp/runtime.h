// The runtime of all generated kernels: matmuls, threads and the time loop. The hidden size is padded to whole panels of
// PANEL units.

#include <cstddef>
#include <atomic>
#include <memory>

namespace c10 { struct BFloat16; }
namespace at::native::cpublas {  // torch's: C (+)= A B, with B packed; selects AMX, AVX-512 or AVX2
void brgemm(int64_t M, int64_t N, int64_t K, int64_t lda, int64_t ldb, int64_t ldc, bool add,
            const c10::BFloat16* A, const c10::BFloat16* B, float* C, bool is_vnni);
void brgemm(int64_t M, int64_t N, int64_t K, int64_t lda, int64_t ldb, int64_t ldc, bool add,
            const float* A, const float* B, float* C, bool is_vnni);
void brgemm_release(bool is_vnni);
}
extern "C" {  // the OpenMP runtime that torch uses
void GOMP_parallel(void (*function)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
}

constexpr int64_t PANEL = 32;  // units of a tile
constexpr int64_t ROWS = 64;   // maximum rows of a tile

// C [M, PANEL] (+)= A [M, K] B, with B packed by pack_columns or pack_rows.
static inline void matmul(int64_t M, int64_t K, const float* A, int64_t lda, const float* B, bool add, float* C) {
  at::native::cpublas::brgemm(M, PANEL, K, lda, PANEL, PANEL, add, A, B, C, false);
}
static inline void matmul(int64_t M, int64_t K, const bf16* A, int64_t lda, const bf16* B, bool add, float* C) {
  using T = c10::BFloat16;
  at::native::cpublas::brgemm(M, PANEL, K, lda, PANEL, PANEL, add, reinterpret_cast<const T*>(A),
                              reinterpret_cast<const T*>(B), C, true);
}
static inline void release(const float*) { at::native::cpublas::brgemm_release(false); }
static inline void release(const bf16*) { at::native::cpublas::brgemm_release(true); }

static inline float narrow(float v, const float*) { return v; }
static inline bf16 narrow(float v, const bf16*) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  if (v != v) return static_cast<bf16>(bits >> 16 | 0x40);
  return static_cast<bf16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
// The index of element (k, n) in a packed [K, PANEL]: pairs of rows are interleaved for bfloat16.
static inline int64_t packed(int64_t k, int64_t n, const float*) { return k * PANEL + n; }
static inline int64_t packed(int64_t k, int64_t n, const bf16*) { return (k / 2 * PANEL + n) * 2 + k % 2; }

class Barrier {
 public:
  void wait(int threads) {
    if (threads == 1) return;
    const unsigned phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase;) {
      _mm_pause();
      if (++spins > 1000) yield_thread();
    }
  }

 private:
  static void yield_thread();
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> phase_{0};
};
extern "C" int sched_yield(void);
inline void Barrier::yield_thread() { sched_yield(); }

template <class Function>
static void parallel(int64_t threads, Function function) {
  GOMP_parallel([](void* data) { (*static_cast<Function*>(data))(omp_get_thread_num(), omp_get_num_threads()); },
                &function, static_cast<unsigned>(threads), 0);
}

static inline int64_t padded(int64_t size) { return (size + PANEL - 1) / PANEL * PANEL; }
static inline int64_t share(int64_t whole, int part, int parts) { return whole * part / parts; }

// Packs W [G N, K] into panels for W v: [N/PANEL][G] packed [K, PANEL] with (k, n) = W[gate, unit n, k].
template <class P>
static void pack_columns(const float* W, P* out, int64_t G, int64_t N, int64_t K, int64_t threads) {
  const int64_t wide = padded(N), deep = padded(K), blocks = wide / PANEL * G;
  parallel(threads, [=](int id, int all) {
    for (int64_t block = share(blocks, id, all); block < share(blocks, id + 1, all); ++block) {
      const int64_t panel = block / G, gate = block % G;
      P* to = out + block * deep * PANEL;
      for (int64_t k0 = 0; k0 < deep; k0 += LANES)
        for (int64_t n = 0; n < PANEL; ++n) {
          const int64_t unit = panel * PANEL + n;
          const float* row = W + (gate * N + unit) * K;
          for (int64_t k = k0; k < k0 + LANES; ++k)
            to[packed(k, n, to)] = narrow(unit < N && k < K ? row[k] : 0.0f, to);
        }
    }
  });
}

// Packs W [G N, K] into panels for W^T v: [K/PANEL][G] packed [N, PANEL] with (k, n) = W[gate, unit k, n].
template <class P>
static void pack_rows(const float* W, P* out, int64_t G, int64_t N, int64_t K, int64_t threads) {
  const int64_t deep = padded(N), blocks = padded(K) / PANEL * G;
  parallel(threads, [=](int id, int all) {
    alignas(64) float pair[2][PANEL];
    for (int64_t block = share(blocks, id, all); block < share(blocks, id + 1, all); ++block) {
      const int64_t first = block / G * PANEL, gate = block % G;
      const int64_t columns = K - first < PANEL ? K - first : PANEL;
      P* to = out + block * deep * PANEL;
      for (int64_t k = 0; k < deep; k += 2) {
        for (int64_t i = 0; i < 2; ++i) {
          std::memset(pair[i], 0, sizeof pair[i]);
          if (k + i < N) std::memcpy(pair[i], W + (gate * N + k + i) * K + first, columns * sizeof(float));
        }
        for (int64_t n = 0; n < PANEL; ++n)
          for (int64_t i = 0; i < 2; ++i) to[packed(k + i, n, to)] = narrow(pair[i][n], to);
      }
    }
  });
}

// Adds the rows of D [N, C] to sums [S, C] by id: sums[ids[n]] += D[n]; without ids, all to sums[0].
template <class P>
static void sum_rows(const P* D, const int64_t* ids, float* sums, int64_t N, int64_t C, int64_t threads) {
  const int64_t strips = C / LANES;
  parallel(threads, [=](int id, int all) {
    const int64_t first = share(strips, id, all) * LANES, last = share(strips, id + 1, all) * LANES;
    for (int64_t n = 0; n < N; ++n) {
      float* to = sums + (ids ? ids[n] : 0) * C;
      for (int64_t c = first; c < last; c += LANES) store(to + c, load(to + c) + load(D + n * C + c));
    }
  });
}

// Runs the stages of Loop over time. Threads divide the batch rows (without synchronization) or the panels of units (with
// a barrier before every stage that has a matmul). Both compute the same numbers.
template <class Loop, class Buffers>
static void run_time_loop(const Buffers& b, bool backward) {
  auto barrier = std::make_unique<Barrier>();
  Barrier* shared_barrier = barrier.get();
  parallel(b.threads, [&b, backward, shared_barrier](int id, int all) {
    const int64_t panels = b.H / PANEL;
    const bool by_rows = b.by_rows;
    const int64_t row0 = by_rows ? share(b.B, id, all) : 0, row1 = by_rows ? share(b.B, id + 1, all) : b.B;
    const int64_t panel0 = by_rows ? 0 : share(panels, id, all), panel1 = by_rows ? panels : share(panels, id + 1, all);
    alignas(64) float sums[Loop::matmuls * ROWS * PANEL + 1];
    const auto for_each_tile = [&](auto&& run) {
      for (int64_t panel = panel0; panel < panel1; ++panel)
        for (int64_t row = row0; row < row1; row += ROWS) run(panel, row, row1 - row < ROWS ? row1 - row : ROWS);
    };
    const auto synchronize = [&](int stage) {
      if (!by_rows && Loop::waits(stage)) shared_barrier->wait(all);
    };
    if (!backward) {
      for (int64_t t = 0; t < b.T; ++t)
        for (int stage = 0; stage < Loop::stages; ++stage) {
          synchronize(stage);
          for_each_tile([&](int64_t panel, int64_t row, int64_t rows) { Loop::run(stage, b, t, panel, row, rows, sums); });
        }
    } else {
      // run the last stage of a step and the first of the previous step on the same tile while it is in the cache
      constexpr int last = Loop::stages - 1;
      for_each_tile([&](int64_t panel, int64_t row, int64_t rows) { Loop::run(0, b, b.T - 1, panel, row, rows, sums); });
      for (int64_t t = b.T - 1; t >= 0; --t)
        for (int stage = last ? 1 : 0; stage <= last; ++stage) {
          synchronize(stage);
          for_each_tile([&](int64_t panel, int64_t row, int64_t rows) {
            if (stage) Loop::run(stage, b, t, panel, row, rows, sums);
            if (stage == last && t > 0) Loop::run(0, b, t - 1, panel, row, rows, sums);
          });
        }
    }
    release(b.weights);
  });
}
