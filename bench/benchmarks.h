#pragma once
// What usol_bench runs besides the benchmarks that register themselves: cases that are read from files first.

namespace usol {

/// Registers "crf/<case>" (crf_bench.cc). Throws Error if the file of cases cannot be read.
void register_crf_benchmarks();

}  // namespace usol
