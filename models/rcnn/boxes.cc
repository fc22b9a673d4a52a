#include "usol/models/rcnn/boxes.h"

#include <cmath>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {
namespace {

struct Sides {
  Tensor width, height, centre_x, centre_y;  // [R]
};

Sides sides_of(const Tensor& boxes) {
  const auto column = [&](std::int64_t i) { return boxes.select(1, i); };
  Sides s;
  s.width = sub(column(2), column(0));
  s.height = sub(column(3), column(1));
  s.centre_x = add(column(0), affine(s.width, 0.5));
  s.centre_y = add(column(1), affine(s.height, 0.5));
  return s;
}

// A constant as divisor: x / 10 is not x * 0.1 in the last bit.
Tensor over(const Tensor& a, double divisor) {
  return divisor == 1 ? a : div(a, Tensor::full({}, divisor, a.dtype(), a.device()));
}

Tensor times(const Tensor& a, double factor) { return factor == 1 ? a : affine(a, factor); }

void check_boxes(const char* what, const Tensor& a, const Tensor& b) {
  check(a.rank() == 2 && a.size(1) == 4 && a.shape() == b.shape(), "{}: expected two tensors [R, 4], got {} and {}",
        what, a.shape(), b.shape());
}

}  // namespace

Tensor BoxCoder::encode(const Tensor& boxes, const Tensor& targets) const {
  check_boxes("box coder", boxes, targets);
  const NoGrad no_grad;
  const Sides from = sides_of(boxes), to = sides_of(targets);
  return stack({div(times(sub(to.centre_x, from.centre_x), weights[0]), from.width),
                div(times(sub(to.centre_y, from.centre_y), weights[1]), from.height),
                times(log(div(to.width, from.width)), weights[2]), times(log(div(to.height, from.height)), weights[3])},
               1);
}

Tensor BoxCoder::decode(const Tensor& deltas, const Tensor& boxes) const {
  check_boxes("box coder", deltas, boxes);
  const NoGrad no_grad;
  const Tensor d = deltas.detach().to(DType::kF32);
  const Sides from = sides_of(boxes);
  const Tensor most = Tensor::full({}, std::log(1000.0 / 16), DType::kF32, boxes.device());
  const auto delta = [&](std::int64_t i) { return over(d.select(1, i), weights[static_cast<std::size_t>(i)]); };
  const Tensor x = add(mul(delta(0), from.width), from.centre_x), y = add(mul(delta(1), from.height), from.centre_y);
  const Tensor half_width = affine(mul(exp(minimum(delta(2), most)), from.width), 0.5);
  const Tensor half_height = affine(mul(exp(minimum(delta(3), most)), from.height), 0.5);
  return stack({sub(x, half_width), sub(y, half_height), add(x, half_width), add(y, half_height)}, 1);
}

Tensor with_image_index(const std::vector<Tensor>& boxes) {
  std::vector<Tensor> rois;
  for (std::size_t n = 0; n < boxes.size(); ++n)
    rois.push_back(concat({Tensor::full({boxes[n].size(0), 1}, static_cast<double>(n), DType::kF32, boxes[n].device()),
                           boxes[n].detach()},
                          1));
  return concat(rois);
}

}  // namespace usol::rcnn
