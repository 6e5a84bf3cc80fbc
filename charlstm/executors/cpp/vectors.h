// Vectors of LANES floats, and the pointwise functions of cells.
// P, the type of matmul operands, is declared before: float, or bfloat16 stored in a uint16_t.

#include <cstdint>
#include <cstring>
#include <immintrin.h>

using bf16 = uint16_t;

// One register: the compiler splits wider vectors, and their comparisons into scalars.
#if defined(__AVX512F__)
constexpr int64_t LANES = 16;
#else
constexpr int64_t LANES = 8;
#endif
typedef float V __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef bf16 Half __attribute__((vector_size(2 * LANES)));
typedef float LooseV __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef bf16 LooseHalf __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

static inline V load(const float* p) { return *reinterpret_cast<const LooseV*>(p); }
static inline void store(float* p, V v) { *reinterpret_cast<LooseV*>(p) = v; }
static inline V load(const bf16* p) {
  const Half half = *reinterpret_cast<const LooseHalf*>(p);
  return (V)(__builtin_convertvector(half, U) << 16);
}
static inline void store(bf16* p, V v) {
#if defined(__AVX512BF16__)
  const __m256bh half = _mm512_cvtneps_pbh((__m512)v);
  std::memcpy(p, &half, sizeof half);
#else
  const U bits = (U)v;
  const U even = bits + 0x7fff + ((bits >> 16) & 1);  // round to nearest, ties to even
  const U quiet = (bits >> 16 | 0x40) << 16;
  const U rounded = (I)(v == v) ? even : quiet;
  *reinterpret_cast<LooseHalf*>(p) = __builtin_convertvector(rounded >> 16, Half);
#endif
}
static inline V splat(float value) { return V{} + value; }

// Minimum and maximum; NaN where x is NaN.
#if defined(__AVX512F__)
static inline V least(V x, V limit) { return (V)_mm512_min_ps((__m512)limit, (__m512)x); }
static inline V greatest(V x, V limit) { return (V)_mm512_max_ps((__m512)limit, (__m512)x); }
static inline V nearest(V x) { return (V)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT); }
static inline V times_power(V p, V n) { return (V)_mm512_scalef_ps((__m512)p, (__m512)n); }
static inline V roughly_inverse(V x) { return (V)_mm512_rcp14_ps((__m512)x); }
static inline V inverse(V x) {
  const V y = roughly_inverse(x);
  return y * (2.0f - x * y);
}
#else
static inline V least(V x, V limit) { return (V)_mm256_min_ps((__m256)limit, (__m256)x); }
static inline V greatest(V x, V limit) { return (V)_mm256_max_ps((__m256)limit, (__m256)x); }
static inline V nearest(V x) { return (V)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// Only for results that are normal numbers.
static inline V times_power(V p, V n) { return (V)((I)p + (__builtin_convertvector(n, I) << 23)); }
static inline V inverse(V x) { return 1.0f / x; }
static inline V roughly_inverse(V x) { return inverse(x); }
#endif
static inline V clamped(V x, float limit) { return least(greatest(x, splat(-limit)), splat(limit)); }

// e^x with x clamped to |x| <= 80; relative error about 1e-7.
static inline V exponential(V x) {
  x = clamped(x, 80.0f);
  const V n = nearest(x * 1.44269504f);
  const V r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  V p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return times_power(p, n);
}
// 2^t with t clamped to |t| <= 115; relative error about 3e-6: accurate enough for operands in bfloat16.
static inline V rough_power_of_two(V t) {
  t = clamped(t, 115.0f);
  const V n = nearest(t);
  const V f = t - n;
  V p = f * 0.0095701013f + 0.055917859f;
  p = p * f + 0.24024744f;
  p = p * f + 0.69312179f;
  p = p * f + 0.99999928f;
  return times_power(p, n);
}
constexpr bool REDUCED_PRECISION = sizeof(P) == 2;
static inline V sigmoid(V x) {
  if (REDUCED_PRECISION) return roughly_inverse(1.0f + rough_power_of_two(x * -1.44269504f));
  return inverse(1.0f + exponential(-x));
}
static inline V hyperbolic_tangent(V x) {
  if (REDUCED_PRECISION) {
    const V e = rough_power_of_two(x * -2.88539008f);
    return (1.0f - e) * inverse(1.0f + e);
  }
  const V e = exponential(-2.0f * x);
  const V far = (1.0f - e) * inverse(1.0f + e);
  const V s = x * x;  // near zero the quotient loses digits: use the first terms of the series
  const V near = x * (1.0f + s * (-1.0f / 3 + s * (2.0f / 15 + s * (-17.0f / 315))));
  return s < 0.01f ? near : far;
}
static inline V rectified(V x) { return x < 0.0f ? V{} : x; }
static inline V sigmoid_backward(V g, V y) { return g * (1.0f - y) * y; }
static inline V rectified_backward(V g, V y) { return y <= 0.0f ? V{} : g; }
