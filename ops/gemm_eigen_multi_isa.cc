// Eigen's matrix product. CMake compiles this file once per x86-64 level with its own namespace name for Eigen
// (-DEigen=Eigen_v4), so that the linker cannot mix template instances of different instruction sets.
#include <Eigen/Core>

#include "usol/ops/gemm_eigen.h"

#define USOL_CONCAT_(a, b) a##b
#define USOL_CONCAT(a, b) USOL_CONCAT_(a, b)

namespace usol {
namespace {

template <class T>
void product(const Gemm<T>& g) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  using Map = Eigen::Map<const Matrix, Eigen::Unaligned, Stride>;
  const auto map = [](const T* data, bool transposed, std::int64_t rows, std::int64_t cols, std::int64_t ld) {
    return transposed ? Map(data, cols, rows, Stride(ld)) : Map(data, rows, cols, Stride(ld));
  };
  const Map a = map(g.a, g.transpose_a, g.m, g.k, g.lda);
  const Map b = map(g.b, g.transpose_b, g.k, g.n, g.ldb);
  Eigen::Map<Matrix, Eigen::Unaligned, Stride> c(g.c, g.m, g.n, Stride(g.ldc));
  if (!g.accumulate) c.setZero();
  if (g.transpose_a && g.transpose_b) {
    c.noalias() += a.transpose() * b.transpose();
  } else if (g.transpose_a) {
    c.noalias() += a.transpose() * b;
  } else if (g.transpose_b) {
    c.noalias() += a * b.transpose();
  } else {
    c.noalias() += a * b;
  }
}

}  // namespace

EigenGemm USOL_CONCAT(eigen_gemm_, USOL_ISA)() { return {product<float>, product<double>}; }

}  // namespace usol
