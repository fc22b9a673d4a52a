#pragma once
// What the emulated device's libraries take, and have done.

namespace emulation {

/// USOL_EMULATED_CUDNN: "none" (no engine for anything, so that kernels of ours run; the default), "single" (graphs of
/// one operation), "all".
enum class Cudnn { kNone, kSingle, kAll };
/// From now on, for plans not made yet: a thread keeps the plans it has.
void set_cudnn(Cudnn takes);
Cudnn cudnn();
/// Graphs and products that were run since the program began.
int cudnn_runs();
int blas_runs();

}  // namespace emulation
