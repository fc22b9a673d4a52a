#pragma once
// What usol_bench runs besides the benchmarks that register themselves: cases that are found at start-up.

namespace usol {

/// Registers "crf/<case>" (crf_bench.cc). Throws Error if the file of cases cannot be read.
void register_crf_benchmarks();
/// Registers "op/<case>" for every op case with bench_inputs, and "op/<case>/<dtype>/cuda/<shapes>" where a GPU answers
/// (op_bench.cc).
void register_op_benchmarks();
/// Registers "cuts/<case>/..." (cuts_bench.cc). Throws Error if the file of cases cannot be read.
void register_cut_benchmarks();
/// Registers "bf16_masks" where weights and pictures are given (bf16_bench.cc).
void register_bf16_benchmarks();
/// Registers "backbone/infer" and "backbone/train" where their case is given (backbone_bench.cc).
void register_backbone_benchmarks();
void register_detector_benchmarks();
/// Registers "pretrain/step" where its case is given (pretrain_bench.cc).
void register_pretrain_benchmarks();
/// Registers "cells/N/plain" and "cells/N/copy_paste" (cells_bench.cc).
void register_cells_benchmarks();

}  // namespace usol
