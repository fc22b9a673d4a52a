// What is not given to oneDNN, all in one place: the cases that some version of it computes wrongly or has no kernel
// for. They go to our own kernels (ops/gemm_eigen.h, conv2d_rows.h). tests/ops/onednn_grid_test.cc finds such cases;
// docs/numerics.md says which versions it has seen.

#include <algorithm>
#include <utility>

#include "usol/ops/onednn.h"

#if defined(USOL_WITH_ONEDNN)

#include "usol/ops/onednn_engine.h"

namespace usol {
namespace {

// Of the library that runs, which may be newer than the headers.
bool at_least(int major, int minor) {
  const dnnl_version_t& version = *dnnl_version();
  return std::pair(version.major, version.minor) >= std::pair(major, minor);
}

#if defined(__x86_64__)
// The CPU's instructions, less what ONEDNN_MAX_CPU_ISA takes away.
bool has_isa(dnnl::cpu_isa isa) {
  const auto wanted = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
}
#endif

// True for a row or a column whose elements do not lie one after another.
bool is_vector_with_gaps(std::int64_t rows, std::int64_t cols, bool transposed, std::int64_t ld) {
  if ((rows == 1) == (cols == 1)) return false;
  return transposed == (rows == 1) && ld > 1;
}

// True if some pixel of the result sees none of the map along this axis: padding and dilation reach past it.
bool sees_nothing(std::int64_t size, std::int64_t kernel, std::int64_t out, const Conv2dOptions& o, std::size_t axis) {
  for (std::int64_t at = 0; at < out; ++at) {
    bool sees = false;
    for (std::int64_t i = 0; i < kernel && !sees; ++i) {
      const std::int64_t pixel = at * o.stride[axis] + i * o.dilation[axis] - o.padding[axis];
      sees = pixel >= 0 && pixel < size;
    }
    if (!sees) return true;
  }
  return false;
}

}  // namespace

bool onednn_computes_bf16() {
#if defined(__x86_64__)
  return has_isa(dnnl::cpu_isa::avx512_core);
#else
  return false;
#endif
}

bool onednn_has_bf16() {
#if defined(__x86_64__)
  return has_isa(dnnl::cpu_isa::avx512_core_bf16);
#else
  return false;
#endif
}

bool onednn_has_amx() {
#if defined(__x86_64__)
  return has_isa(dnnl::cpu_isa::avx512_core_amx);
#else
  return false;
#endif
}

template <class T>
bool onednn_takes(const Gemm<T>& g) {
  // 3.7 reads a transposed row A with gaps, and writes a column C with gaps, as if the elements lay one after another,
  // so that it uses and overwrites what is not theirs. 3.5 does not; 3.6 has not been tried. B has been
  // right in all of them, and is held to the same rule because the cause is the same: which of two strides counts
  // when a dimension has size 1.
  if (!at_least(3, 6)) return true;
  return !is_vector_with_gaps(g.m, g.k, g.transpose_a, g.lda) && !is_vector_with_gaps(g.k, g.n, g.transpose_b, g.ldb) &&
         !is_vector_with_gaps(g.m, g.n, false, g.ldc);
}
template bool onednn_takes(const Gemm<float>&);
template bool onednn_takes(const Gemm<bf16>&);

bool onednn_takes(Conv2dPass pass, DType dtype, const Shape& x, const Shape& weight, const Shape& y,
                  const Conv2dOptions& o) {
  const bool is_bf16 = dtype == DType::kBF16;
  if (!(dtype == DType::kF32 || (is_bf16 && onednn_has_bf16()))) return false;
  const std::int64_t kernel_h = weight[2], kernel_w = weight[3];
  if (pass == Conv2dPass::kForward) {
    // 2.6, 3.0, 3.2 and 3.7 crash, or leave such pixels as they were, in one kernel or another.
    if (sees_nothing(x[2], kernel_h, y[2], o, 0) || sees_nothing(x[3], kernel_w, y[3], o, 1)) return false;
    // 3.7 multiplies the wrong pixels where the result is one column wide and the stride across not 1: in bf16 mostly,
    // in f32 rarely. 3.2 does not.
    if (at_least(3, 3) && y[3] == 1 && o.stride[1] > 1) return false;
  }
  if (pass == Conv2dPass::kGradWeight) {
    // 2.6 and 3.7 leave the memory as they found it where a tap of the kernel never meets the map, and 2.6 takes
    // numbers from elsewhere for some numbers of channels. ops/conv2d_grad_weight_bf16.h is as fast.
    if (is_bf16) return false;
    // 2.6 writes past the end of its own memory for strided 1 x 1 kernels of fewer than 16 channels.
    if (kernel_h == 1 && kernel_w == 1 && std::max(o.stride[0], o.stride[1]) > 1 && x[1] < 16) return false;
  }
  return true;
}

}  // namespace usol

#endif
