// Every op case of tests/ops that names bench_inputs, timed forward in f32 on the CPU: usol_bench
// --benchmark_filter=op/. Where the case knows its number of operations, FLOP/s are reported.
#include <benchmark/benchmark.h>

#include "autograd/grad_mode.h"
#include "bench/benchmarks.h"
#include "tests/support/op_case.h"

namespace usol {
namespace {

void run(benchmark::State& state, const test::OpCase& op_case) {
  const NoGrad no_grad;
  const test::Tensors inputs = test::make_inputs(op_case.bench_inputs, DType::kF32, Device::cpu());
  for (auto _ : state) benchmark::DoNotOptimize(op_case.op(inputs));
  if (op_case.bench_flop > 0)
    state.counters["FLOP/s"] = benchmark::Counter(op_case.bench_flop, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

void register_op_benchmarks() {
  for (const test::OpCase& op_case : test::all_op_cases())
    if (!op_case.bench_inputs.empty())
      benchmark::RegisterBenchmark(("op/" + op_case.name).c_str(),
                                   [&op_case](benchmark::State& state) { run(state, op_case); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
}

}  // namespace usol
