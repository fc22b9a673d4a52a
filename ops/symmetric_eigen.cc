#include "usol/ops/symmetric_eigen.h"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>

#include "usol/tensor/check.h"

namespace usol {

constinit Kernel<void(Tensor&, Tensor&, Tensor&)> symmetric_eigen_kernel{"symmetric_eigen"};

SymmetricEigen symmetric_eigen(const Tensor& a, std::int64_t count) {
  check(a.rank() == 2 && a.size(0) == a.size(1) && a.dtype() == DType::kF64,
        "symmetric_eigen: expected a square f64 matrix, got {} {}", a.dtype(), a.shape());
  check(count >= 0 && count <= a.size(0), "symmetric_eigen: expected 0 to {} pairs, got {}", a.size(0), count);
  SymmetricEigen out{Tensor::empty({count}, DType::kF64, a.device()),
                     Tensor::empty({count, a.size(0)}, DType::kF64, a.device())};
  if (count == 0) return out;
  Tensor work = a.detach().clone();
  symmetric_eigen_kernel(a.device(), work, out.values, out.vectors);
  return out;
}

namespace {

void symmetric_eigen_cpu(Tensor& a, Tensor& values, Tensor& vectors) {
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Index n = a.size(0), count = values.size(0);
  const Eigen::Map<const RowMajor> matrix(a.data<double>(), n, n);
  check(matrix.allFinite(), "symmetric_eigen: a value is not finite");
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(matrix);
  check(solver.info() == Eigen::Success, ErrorKind::kUnsupported, "symmetric_eigen: no convergence at size {}", n);
  Eigen::Map<Eigen::VectorXd>(values.mutable_data<double>(), count) = solver.eigenvalues().tail(count).reverse();
  Eigen::Map<RowMajor>(vectors.mutable_data<double>(), count, n) =
      solver.eigenvectors().rightCols(count).rowwise().reverse().transpose();
}

const Register r_symmetric_eigen(symmetric_eigen_kernel, DeviceType::kCpu, symmetric_eigen_cpu);

}  // namespace
}  // namespace usol
