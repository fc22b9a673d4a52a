#pragma once
// Benchmarks of a case that a script has made: its path is in an environment variable.

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <utility>

namespace usol {

/// Registers each (name, function of the case's path) if `variable` is set.
inline void register_given_case(
    const char* variable,
    std::initializer_list<std::pair<const char*, void (*)(benchmark::State&, const std::string&)>> all) {
  const char* path = std::getenv(variable);
  if (!path) return;
  for (const auto& [name, run] : all)
    benchmark::RegisterBenchmark(name, run, std::string(path))
        ->UseRealTime()
        ->MeasureProcessCPUTime()
        ->Unit(benchmark::kMillisecond);
}

}  // namespace usol
