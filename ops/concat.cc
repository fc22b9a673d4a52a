#include "usol/ops/concat.h"

#include "usol/autograd/tape.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol {

Tensor concat(const std::vector<Tensor>& tensors, int dim) {
  check(!tensors.empty(), "concat: no tensors");
  const Tensor& first = tensors.front();
  check(first.rank() > 0, "concat: scalars have no dimension to join");
  dim = first.shape().index(dim);
  Shape shape = first.shape();
  shape[dim] = 0;
  std::vector<std::int64_t> sizes;
  for (const Tensor& t : tensors) {
    check(t.dtype() == first.dtype() && t.device() == first.device(), "concat: {} on {} beside {} on {}", first.dtype(),
          first.device(), t.dtype(), t.device());
    Shape others = t.shape();
    const bool same_rank = t.rank() == shape.rank();
    if (same_rank) others[dim] = shape[dim];
    check(same_rank && others == shape, "concat: shapes {} and {} differ outside dimension {}", first.shape(),
          t.shape(), dim);
    sizes.push_back(t.size(dim));
    shape[dim] += t.size(dim);
  }
  Tensor out = Tensor::empty(shape, first.dtype(), first.device());
  std::int64_t start = 0;
  for (const Tensor& t : tensors) {
    Tensor part = out.slice(dim, start, start + t.size(dim));
    part.copy_from(t);
    start += t.size(dim);
  }
  return record("concat", tensors, out, [=](const Tensor& grad, const Needs&) {
    std::vector<Tensor> grads;
    std::int64_t at = 0;
    for (std::int64_t size : sizes) {
      grads.push_back(grad.slice(dim, at, at + size));
      at += size;
    }
    return grads;
  });
}

Tensor stack(const std::vector<Tensor>& tensors, int dim) {
  std::vector<Tensor> rows;
  for (const Tensor& t : tensors) rows.push_back(unsqueeze(t, dim));
  return concat(rows, dim);
}

std::vector<Tensor> split(const Tensor& a, const std::vector<std::int64_t>& sizes, int dim) {
  std::int64_t total = 0;
  for (std::int64_t size : sizes) total += size;
  check(total == a.size(dim), "split: sizes add up to {}, dimension {} of {} has {}", total, dim, a.shape(),
        a.size(dim));
  std::vector<Tensor> parts;
  std::int64_t start = 0;
  for (std::int64_t size : sizes) {
    parts.push_back(slice(a, dim, start, start + size));
    start += size;
  }
  return parts;
}

}  // namespace usol
