// Matrix products on CUDA through cuBLASLt. Batch dimensions that lie at fixed strides in all three tensors are one
// call.

#include "usol/ops/matmul.h"
#include "usol/tensor/cuda/blas.h"
#include "usol/tensor/cuda/strided.cuh"

namespace usol {
namespace {

using cuda::BlasProduct;
using cuda::Queue;
using cuda::StridedIndex;

Shape batch_part(const Shape& shape) {
  Shape batch;
  for (int d = 0; d + 2 < shape.rank(); ++d) batch.push_back(shape[d]);
  return batch;
}

void matmul_cuda(const Tensor& a, const Tensor& b, Tensor& out) {
  const Queue queue("matmul", out.device());
  const MatrixLayout la = matrix_layout(a).value(), lb = matrix_layout(b).value();
  BlasProduct p;
  p.dtype = out.dtype();
  p.transpose_a = la.transposed;
  p.transpose_b = lb.transposed;
  p.m = out.size(-2);
  p.n = out.size(-1);
  p.k = a.size(-1);
  p.lda = la.leading_elements;
  p.ldb = lb.leading_elements;
  p.ldc = p.n;
  out.storage()->bump_version();
  if (p.k == 0) return out.fill(0);

  const StridedIndex<3> batches(batch_part(out.shape()),
                                {batch_part(a.strides()), batch_part(b.strides()), batch_part(out.strides())});
  const int inner = batches.rank - 1;  // the dimension that one call covers
  if (inner >= 0) {
    p.batch = batches.sizes[inner];
    p.stride_a = batches.strides[inner][0];
    p.stride_b = batches.strides[inner][1];
    p.stride_c = batches.strides[inner][2];
  }
  const auto element = static_cast<std::int64_t>(size_of(p.dtype));
  std::int64_t calls = 1;
  for (int d = 0; d < inner; ++d) calls *= batches.sizes[d];
  for (std::int64_t call = 0; call < calls; ++call) {
    std::int64_t offsets[3] = {}, rest = call;
    for (int d = inner - 1; d >= 0; --d) {
      for (int k = 0; k < 3; ++k) offsets[k] += rest % batches.sizes[d] * batches.strides[d][k];
      rest /= batches.sizes[d];
    }
    p.a = a.raw() + offsets[0] * element;
    p.b = b.raw() + offsets[1] * element;
    p.c = out.raw() + offsets[2] * element;
    blas_product(queue, p);
  }
}

const Register r(matmul_kernel, DeviceType::kCuda, matmul_cuda);

}  // namespace
}  // namespace usol
