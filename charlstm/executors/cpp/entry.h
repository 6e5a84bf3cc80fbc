// The functions that Python calls; appended to the generated structures.

extern "C" {

void forward(const ForwardBuffers* b) { run_time_loop<Forward>(*b, false); }
void backward(const BackwardBuffers* b) { run_time_loop<Backward>(*b, true); }

// Packs weights [G N, K] into panels for W v or, in the backward pass, for W^T v.
void pack(const float* W, P* out, int64_t back, int64_t G, int64_t N, int64_t K, int64_t threads) {
  if (back) pack_rows(W, out, G, N, K, threads);
  else pack_columns(W, out, G, N, K, threads);
}

void sum_by_id(const P* D, const int64_t* ids, float* sums, int64_t N, int64_t C, int64_t threads) {
  sum_rows(D, ids, sums, N, C, threads);
}

// One stage of a forward step for one tile, for callers that run the time loop themselves.
extern const int64_t forward_stages = Forward::stages, forward_matmuls = Forward::matmuls;
void forward_stage(int64_t stage, const ForwardBuffers* b, int64_t t, int64_t panel, int64_t row, int64_t rows,
                   float* sums) {
  Forward::run(static_cast<int>(stage), *b, t, panel, row, rows, sums);
}

// Whether torch's packed matmul works on this CPU: compares a small one to plain sums.
int matmul_works() {
  constexpr int64_t M = 3, K = 32;
  alignas(64) P A[M * K], B[K * PANEL];
  alignas(64) float C[M * PANEL];
  for (int64_t i = 0; i < M * K; ++i) A[i] = narrow(static_cast<float>(i % 7 - 3), A);
  for (int64_t k = 0; k < K; ++k)
    for (int64_t n = 0; n < PANEL; ++n) B[packed(k, n, B)] = narrow(static_cast<float>((3 * k + n) % 5 - 2), B);
  try {
    matmul(M, K, A, K, B, false, C);
    release(A);
  } catch (...) {
    return 0;
  }
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < PANEL; ++n) {
      float sum = 0;
      for (int64_t k = 0; k < K; ++k)
        sum += static_cast<float>((m * K + k) % 7 - 3) * static_cast<float>((3 * k + n) % 5 - 2);
      if (C[m * PANEL + n] != sum) return 0;
    }
  return 1;
}

}
