#include "usol/ops/conv_transpose2d.h"

#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/layout.h"

namespace usol {
namespace {

// The shape of the result.
Shape check_transpose(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvTranspose2dOptions& o) {
  for (std::size_t a = 0; a < 2; ++a)
    check(o.groups >= 1 && o.stride[a] >= 1 && o.dilation[a] >= 1 && o.padding[a] >= 0 && o.output_padding[a] >= 0 &&
              o.output_padding[a] < o.stride[a],
          "conv_transpose2d: expected positive stride, dilation and groups, no negative padding and an output padding "
          "below the stride");
  check(x.rank() == 4 && weight.rank() == 4 && x.size(1) == weight.size(0) && x.size(1) % o.groups == 0 &&
            weight.numel() > 0 && x.size(2) > 0 && x.size(3) > 0,
        "conv_transpose2d: expected x [N, C, H, W] and weight [C, O / {}, kh, kw], got {} and {}", o.groups, x.shape(),
        weight.shape());
  const std::int64_t channels = weight.size(1) * o.groups;
  check(!bias.defined() || bias.shape() == Shape{channels}, "conv_transpose2d: expected a bias of shape [{}], got {}",
        channels, bias.shape());
  check(is_floating(x.dtype()) && x.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == x.dtype()),
        "conv_transpose2d: expected one floating dtype, got x {}, weight {}", x.dtype(), weight.dtype());
  check(x.device() == weight.device() && (!bias.defined() || bias.device() == x.device()),
        "conv_transpose2d: x on {}, weight on {}", x.device(), weight.device());
  const auto size = [&](int axis) {
    const auto a = static_cast<std::size_t>(axis);
    return (x.size(2 + axis) - 1) * o.stride[a] - 2 * o.padding[a] + o.dilation[a] * (weight.size(2 + axis) - 1) +
           o.output_padding[a] + 1;
  };
  const Shape shape{x.size(0), channels, size(0), size(1)};
  check(shape[2] > 0 && shape[3] > 0, "conv_transpose2d: nothing is left of {} after the padding", x.shape());
  return shape;
}

Tensor dense(const Tensor& t) { return t.defined() ? t.detach().contiguous() : t; }

}  // namespace

// The convolution of which this is the gradient maps [N, O, H', W'] to x's [N, C, H, W]; seen from it, x is a gradient.
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvTranspose2dOptions& o) {
  const Shape shape = check_transpose(x, weight, bias, o);
  const Conv2dOptions forward{o.stride, o.padding, o.dilation, o.groups, o.relu};
  const Tensor map = to_channels_last(x.detach()), kernel = dense(weight);
  Tensor out = empty_channels_last(shape, x.dtype(), x.device());
  if (out.numel() > 0) conv2d_grad_input_kernel(x.device(), map, kernel, dense(bias), forward, out);
  const Saved saved_map(map), saved_kernel(kernel), saved_out(o.relu ? out : Tensor());
  std::vector<Tensor> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  const std::size_t count = inputs.size();
  return record("conv_transpose2d", inputs, out, [=](const Tensor& grad, const Needs& needs) {
    const char* const name = "conv_transpose2d";
    Tensor g = to_channels_last(grad);
    if (forward.relu) {
      const Tensor whole = g;
      g = empty_like(whole);
      unary_grad_kernel(g.device(), UnaryOp::kRelu, saved_out.get(name), whole, g);
    }
    const Tensor& saved_x = saved_map.get(name);
    const Tensor& saved_w = saved_kernel.get(name);
    Conv2dOptions linear = forward;
    linear.relu = false;
    std::vector<Tensor> grads(count);
    if (needs[0]) {
      grads[0] = empty_channels_last(saved_x.shape(), g.dtype(), g.device());
      if (g.numel() > 0) conv2d_kernel(g.device(), g, saved_w, {}, linear, false, grads[0]);
    }
    if (needs[1]) {
      grads[1] = g.numel() > 0 ? Tensor::empty(saved_w.shape(), g.dtype(), g.device())
                               : Tensor::zeros(saved_w.shape(), g.dtype(), g.device());
      if (g.numel() > 0) conv2d_grad_weight_kernel(g.device(), g, saved_x, linear, grads[1]);
    }
    if (count == 3 && needs[2]) grads[2] = sum(channels_last_rows(g), {0});
    return grads;
  });
}

}  // namespace usol
