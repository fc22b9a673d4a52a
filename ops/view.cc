#include "usol/ops/view.h"

#include "usol/autograd/tape.h"
#include "usol/ops/reduce.h"

namespace usol {
namespace {

// Every element of the view is one element of `a`: the gradient is shaped back.
Tensor reshaped(const char* name, const Tensor& a, const Tensor& view) {
  return record(name, {a}, view, [shape = a.shape()](const Tensor& grad, const Needs&) {
    return std::vector<Tensor>{grad.reshape(shape)};
  });
}

}  // namespace

Tensor reshape(const Tensor& a, const Shape& shape) { return reshaped("reshape", a, a.detach().reshape(shape)); }
Tensor squeeze(const Tensor& a, int dim) { return reshaped("squeeze", a, a.detach().squeeze(dim)); }
Tensor unsqueeze(const Tensor& a, int dim) { return reshaped("unsqueeze", a, a.detach().unsqueeze(dim)); }
Tensor contiguous(const Tensor& a) { return reshaped("contiguous", a, a.detach().contiguous()); }

Tensor transpose(const Tensor& a, int dim0, int dim1) {
  return record("transpose", {a}, a.detach().transpose(dim0, dim1),
                [=](const Tensor& grad, const Needs&) { return std::vector<Tensor>{grad.transpose(dim0, dim1)}; });
}

Tensor permute(const Tensor& a, const std::vector<int>& dims) {
  const Tensor view = a.detach().permute(dims);
  std::vector<int> inverse(dims.size());
  for (std::size_t i = 0; i < dims.size(); ++i)
    inverse[static_cast<std::size_t>(a.shape().index(dims[i]))] = static_cast<int>(i);
  return record("permute", {a}, view,
                [inverse](const Tensor& grad, const Needs&) { return std::vector<Tensor>{grad.permute(inverse)}; });
}

Tensor slice(const Tensor& a, int dim, std::int64_t start, std::int64_t end, std::int64_t step) {
  return record("slice", {a}, a.detach().slice(dim, start, end, step),
                [=, shape = a.shape()](const Tensor& grad, const Needs&) {
                  Tensor grad_in = Tensor::zeros(shape, grad.dtype(), grad.device());
                  Tensor part = grad_in.slice(dim, start, end, step);
                  part.copy_from(grad);
                  return std::vector<Tensor>{grad_in};
                });
}

Tensor select(const Tensor& a, int dim, std::int64_t index) {
  return record("select", {a}, a.detach().select(dim, index), [=, shape = a.shape()](const Tensor& grad, const Needs&) {
    Tensor grad_in = Tensor::zeros(shape, grad.dtype(), grad.device());
    Tensor part = grad_in.select(dim, index);
    part.copy_from(grad);
    return std::vector<Tensor>{grad_in};
  });
}

Tensor expand(const Tensor& a, const Shape& shape) {
  return record("expand", {a}, a.detach().expand(shape), [from = a.shape()](const Tensor& grad, const Needs&) {
    return std::vector<Tensor>{sum_to(grad, from)};
  });
}

}  // namespace usol
