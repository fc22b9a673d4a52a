// Every op case of tests/ops that names bench_inputs, timed forward: usol_bench --benchmark_filter=op/. On the CPU in
// f32 as "op/<case>"; where a GPU answers, in f32 and, if the op takes it, bf16 as "op/<case>/<dtype>/cuda/<shapes>",
// so that bench/compare_ops_gpu.py can time the same in PyTorch. FLOP/s are reported where the case knows its
// operations; on a GPU also "bytes" and "flop", what a call has to do at least, for bench/roof.py.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "bench/benchmarks.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/tensor/device_count.h"
#include "usol/tensor/stream.h"

namespace usol {
namespace {

using test::OpCase;
using test::Tensors;

void count_flop(benchmark::State& state, const OpCase& op_case) {
  if (op_case.bench_flop > 0)
    state.counters["FLOP/s"] = benchmark::Counter(op_case.bench_flop, benchmark::Counter::kIsIterationInvariantRate);
}

void run_cpu(benchmark::State& state, const OpCase& op_case) {
  const NoGrad no_grad;
  const Tensors inputs = test::make_inputs(op_case.bench_inputs, DType::kF32, Device::cpu());
  for (auto _ : state) benchmark::DoNotOptimize(op_case.op(inputs));
  count_flop(state, op_case);
}

// Calls are queued in groups that take a few milliseconds, so that neither launching nor waiting is what is timed. They
// take turns with copies of the inputs, so that these come from memory and not from a cache.
void run_cuda(benchmark::State& state, const OpCase& op_case, DType dtype) {
  const NoGrad no_grad;
  std::vector<Tensors> turns = {test::make_inputs(op_case.bench_inputs, dtype, Device::cuda())};
  const test::Work work = test::bench_work(op_case, turns[0], op_case.op(turns[0]));
  constexpr double kBeyondCaches = 256e6, kMostTurns = 32;
  while (static_cast<double>(turns.size()) * work.bytes < kBeyondCaches && turns.size() < kMostTurns) {
    Tensors copies;
    for (const Tensor& t : turns[0]) copies.push_back(t.clone());
    turns.push_back(std::move(copies));
  }
  const Stream stream = Stream::current(Device::cuda());
  const auto seconds_of = [&](int calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) op_case.op(turns[static_cast<std::size_t>(i) % turns.size()]);
    stream.synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  seconds_of(2);  // handles, plans and caches are made here
  constexpr double kGroupSeconds = 5e-3, kMostCalls = 1000;
  const int calls = static_cast<int>(std::clamp(kGroupSeconds / seconds_of(1), 1.0, kMostCalls));
  for (auto _ : state) state.SetIterationTime(seconds_of(calls) / calls);
  count_flop(state, op_case);
  state.counters["bytes"] = work.bytes;
  state.counters["flop"] = work.flop;
}

std::string shapes_text(const OpCase& op_case) {
  std::string text;
  for (const test::Input& input : op_case.bench_inputs) {
    if (!text.empty()) text += ';';
    for (int d = 0; d < input.shape.rank(); ++d) text += (d > 0 ? "x" : "") + std::to_string(input.shape[d]);
  }
  return text;
}

}  // namespace

void register_op_benchmarks() {
  for (const OpCase& op_case : test::all_op_cases()) {
    if (op_case.bench_inputs.empty()) continue;
    const std::string name = "op/" + op_case.name;
    benchmark::RegisterBenchmark(name.c_str(), [&op_case](benchmark::State& state) { run_cpu(state, op_case); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    if (device_count(DeviceType::kCuda) == 0) continue;
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      if (std::ranges::find(op_case.cuda_dtypes, dtype) == op_case.cuda_dtypes.end()) continue;
      benchmark::RegisterBenchmark((name + "/" + to_string(dtype) + "/cuda/" + shapes_text(op_case)).c_str(),
                                   [&op_case, dtype](benchmark::State& state) {
                                     try {
                                       run_cuda(state, op_case, dtype);
                                     } catch (const std::exception& error) {  // the others are still timed
                                       state.SkipWithError(error.what());
                                     }
                                   })
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace usol
