// Entry of usol_bench: Google Benchmark's own command line.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <exception>

#include "bench/benchmarks.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    usol::register_crf_benchmarks();
    usol::register_op_benchmarks();
    usol::register_cut_benchmarks();
    usol::register_backbone_benchmarks();
    usol::register_detector_benchmarks();
    usol::register_pretrain_benchmarks();
    usol::register_cells_benchmarks();
    usol::register_bf16_benchmarks();
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "usol_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
