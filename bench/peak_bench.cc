// What this machine multiplies from registers alone, on all threads: the floor that products are held to.
#include <benchmark/benchmark.h>

#include <cstdint>

#include "usol/ops/bf16_products.h"
#include "usol/tensor/parallel.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace usol {
namespace {

// Enough sums to hide an instruction's latency, few enough for the registers.
constexpr int kSums = 24;
constexpr std::int64_t kRounds = 5'000'000;

__attribute__((target("avx512f"))) float multiply_f32() {
  __m512 sums[kSums] = {};
  const __m512 a = _mm512_set1_ps(1.5f), b = _mm512_set1_ps(1e-3f);
  for (auto& sum : sums) asm("" : "+v"(sum));  // or the compiler sees that all are the same
  for (std::int64_t i = 0; i < kRounds; ++i)
#pragma GCC unroll 24
    for (auto& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  __m512 all = sums[0];
  for (const auto& sum : sums) all = _mm512_add_ps(all, sum);
  return _mm512_cvtss_f32(all);
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) float multiply_bf16() {
  __m512 sums[kSums] = {};
  const auto a = (__m512bh)_mm512_set1_epi32(0x3fc03fc0), b = (__m512bh)_mm512_set1_epi32(0x3a833a83);
  for (auto& sum : sums) asm("" : "+v"(sum));  // or the compiler sees that all are the same
  for (std::int64_t i = 0; i < kRounds; ++i)
#pragma GCC unroll 24
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  __m512 all = sums[0];
  for (const auto& sum : sums) all = _mm512_add_ps(all, sum);
  return _mm512_cvtss_f32(all);
}

// products: of one instruction.
void run(benchmark::State& state, bool supported, float (*multiply)(), int products) {
  if (!supported) return state.SkipWithError("this CPU has no such instruction");
  const int threads = thread_count();
  for (auto _ : state) parallel_for_each(0, threads, [&](std::int64_t) { benchmark::DoNotOptimize(multiply()); });
  const double operations = 2.0 * products * kSums * static_cast<double>(kRounds) * threads;
  state.counters["GFLOP/s"] = benchmark::Counter(operations / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}

void peak_f32(benchmark::State& state) { run(state, __builtin_cpu_supports("avx512f"), multiply_f32, 16); }
void peak_bf16(benchmark::State& state) { run(state, avx512_bf16_products() != nullptr, multiply_bf16, 32); }
BENCHMARK(peak_f32)->Name("peak/f32")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(peak_bf16)->Name("peak/bf16")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace usol

#endif
