#include "usol/ops/matmul.h"

#include <algorithm>

#include "usol/autograd/tape.h"
#include "usol/ops/gemm.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, Tensor&)> matmul_kernel{"matmul"};

std::optional<MatrixLayout> matrix_layout(const Tensor& t) {
  const std::int64_t rows = t.size(-2), cols = t.size(-1), row_stride = t.strides()[-2], col_stride = t.strides()[-1];
  // The stride of a dimension of size 1 means nothing.
  const std::int64_t row_length = std::max<std::int64_t>(1, cols), col_length = std::max<std::int64_t>(1, rows);
  if ((col_stride == 1 || cols <= 1) && (row_stride >= row_length || rows <= 1))
    return MatrixLayout{false, rows <= 1 ? row_length : row_stride};
  if ((row_stride == 1 || rows <= 1) && (col_stride >= col_length || cols <= 1))
    return MatrixLayout{true, cols <= 1 ? col_length : col_stride};
  return std::nullopt;
}

namespace {

Shape batch_of(const Tensor& t) {
  Shape batch;
  for (int d = 0; d + 2 < t.rank(); ++d) batch.push_back(t.size(d));
  return batch;
}

Shape with_matrix(Shape batch, std::int64_t rows, std::int64_t cols) {
  batch.push_back(rows);
  batch.push_back(cols);
  return batch;
}

// The product without recording: gradients are written with it.
Tensor product(const Tensor& a, const Tensor& b) {
  const std::int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
  // Every batch times the same matrix is one tall product.
  if (b.rank() == 2 && a.rank() > 2 && a.is_contiguous())
    return product(a.reshape({a.numel() / std::max<std::int64_t>(1, k), k}), b).reshape(with_matrix(batch_of(a), m, n));
  const Shape batch = broadcast_shapes(batch_of(a), batch_of(b), "matmul");
  const Tensor x = matrix_layout(a) ? a : a.contiguous(), y = matrix_layout(b) ? b : b.contiguous();
  Tensor out = Tensor::empty(with_matrix(batch, m, n), a.dtype(), a.device());
  if (out.numel() > 0)
    matmul_kernel(a.device(), x.expand(with_matrix(batch, m, k)), y.expand(with_matrix(batch, k, n)), out);
  return out;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  check(is_floating(a.dtype()) && a.dtype() == b.dtype(),
        "matmul: expected two tensors of one floating dtype, got {} and {}", a.dtype(), b.dtype());
  check(a.device() == b.device(), "matmul: tensors on {} and {}", a.device(), b.device());
  check(a.rank() >= 2 && b.rank() >= 2 && a.size(-1) == b.size(-2), "matmul: shapes {} and {} do not multiply",
        a.shape(), b.shape());
  const Tensor out = product(a.detach(), b.detach());
  const Saved sa(a), sb(b);
  return record("matmul", {a, b}, out, [sa, sb](const Tensor& grad, const Needs& needs) {
    const Tensor &x = sa.get("matmul"), &y = sb.get("matmul");
    Tensor gx, gy;
    if (needs[0]) gx = sum_to(product(grad, y.transpose(-2, -1)), x.shape());
    if (needs[1]) {
      if (y.rank() == 2 && x.rank() > 2) {  // the sum over batches is part of the product
        const std::int64_t rows = x.numel() / std::max<std::int64_t>(1, x.size(-1));
        gy = product(x.reshape({rows, x.size(-1)}).transpose(0, 1), grad.reshape({rows, y.size(1)}));
      } else {
        gy = sum_to(product(x.transpose(-2, -1), grad), y.shape());
      }
    }
    return std::vector<Tensor>{gx, gy};
  });
}

namespace {

// Offset, in elements, of batch `index` (row-major over all dimensions but the last two).
std::int64_t batch_offset(const Tensor& t, std::int64_t index) {
  std::int64_t offset = 0;
  for (int d = t.rank() - 3; d >= 0; --d) {
    offset += index % t.size(d) * t.strides()[d];
    index /= t.size(d);
  }
  return offset;
}

template <class T>
void matmul_cpu_typed(const Tensor& a, const Tensor& b, Tensor& out) {
  const MatrixLayout la = matrix_layout(a).value(), lb = matrix_layout(b).value();
  const std::int64_t m = out.size(-2), n = out.size(-1), k = a.size(-1);
  const T *pa = a.data<T>(), *pb = b.data<T>();
  T* pc = out.mutable_data<T>();
  const std::int64_t batches = out.numel() / (m * n);
  const auto multiply = [&](std::int64_t i) {
    gemm(Gemm<T>{.transpose_a = la.transposed,
                 .transpose_b = lb.transposed,
                 .m = m,
                 .n = n,
                 .k = k,
                 .a = pa + batch_offset(a, i),
                 .lda = la.leading_elements,
                 .b = pb + batch_offset(b, i),
                 .ldb = lb.leading_elements,
                 .c = pc + i * m * n,
                 .ldc = n});
  };
  // Small products are worth one thread each, large ones all threads.
  constexpr std::int64_t kLargeProduct = 1 << 21, kWorthAThread = 1 << 16;
  const std::int64_t size = m * n * std::max<std::int64_t>(1, k);
  if (size >= kLargeProduct || batches == 1) {
    for (std::int64_t i = 0; i < batches; ++i) multiply(i);
  } else {
    parallel_for(0, batches, std::max<std::int64_t>(1, kWorthAThread / size),
                 [&](std::int64_t first, std::int64_t end) {
                   for (std::int64_t i = first; i < end; ++i) multiply(i);
                 });
  }
}

void matmul_cpu(const Tensor& a, const Tensor& b, Tensor& out) {
  dispatch_floating(out.dtype(), "matmul", [&]<class T>() { matmul_cpu_typed<T>(a, b, out); });
}

const Register r_matmul(matmul_kernel, DeviceType::kCpu, matmul_cpu);

}  // namespace
}  // namespace usol
