#include "usol/ops/conv2d.h"

#include <algorithm>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/in_place.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/layout.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, const Conv2dOptions&, bool, Tensor&)> conv2d_kernel{
    "conv2d"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, const Conv2dOptions&, Tensor&)>
    conv2d_grad_input_kernel{"conv2d_grad_input"};
constinit Kernel<void(const Tensor&, const Tensor&, const Conv2dOptions&, Tensor&)> conv2d_grad_weight_kernel{
    "conv2d_grad_weight"};

std::int64_t conv2d_size(std::int64_t size, std::int64_t kernel, const Conv2dOptions& options, int axis) {
  const auto a = static_cast<std::size_t>(axis);
  const std::int64_t room = size + 2 * options.padding[a] - options.dilation[a] * (kernel - 1) - 1;
  return room < 0 ? 0 : room / options.stride[a] + 1;
}

namespace {

// The shape of the result.
Shape check_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o) {
  check(o.groups >= 1 && std::min(o.stride[0], o.stride[1]) >= 1 && std::min(o.dilation[0], o.dilation[1]) >= 1 &&
            std::min(o.padding[0], o.padding[1]) >= 0,
        "conv2d: expected positive stride, dilation and groups and no negative padding");
  check(x.rank() == 4 && weight.rank() == 4 && x.size(1) == weight.size(1) * o.groups &&
            weight.size(0) % o.groups == 0 && weight.numel() > 0,
        "conv2d: expected x [N, C, H, W] and weight [O, C / {}, kh, kw], got {} and {}", o.groups, x.shape(),
        weight.shape());
  check(!bias.defined() || bias.shape() == Shape{weight.size(0)}, "conv2d: expected a bias of shape [{}], got {}",
        weight.size(0), bias.shape());
  check(is_floating(x.dtype()) && x.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == x.dtype()),
        "conv2d: expected one floating dtype, got x {}, weight {}", x.dtype(), weight.dtype());
  check(x.device() == weight.device() && (!bias.defined() || bias.device() == x.device()),
        "conv2d: x on {}, weight on {}", x.device(), weight.device());
  const std::int64_t height = conv2d_size(x.size(2), weight.size(2), o, 0),
                     width = conv2d_size(x.size(3), weight.size(3), o, 1);
  check(height > 0 && width > 0, "conv2d: the kernel of weight {} is larger than the padded map {}", weight.shape(),
        x.shape());
  return {x.size(0), weight.size(0), height, width};
}

Tensor dense(const Tensor& t) { return t.defined() ? t.detach().contiguous() : t; }

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options) {
  const Shape shape = check_conv2d(x, weight, bias, options);
  const Tensor map = to_channels_last(x.detach()), kernel = dense(weight);
  Tensor out = empty_channels_last(shape, x.dtype(), x.device());
  if (out.numel() > 0) conv2d_kernel(x.device(), map, kernel, dense(bias), options, false, out);
  const Saved saved_map(map), saved_kernel(kernel), saved_out(options.relu ? out : Tensor());
  std::vector<Tensor> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  const std::size_t count = inputs.size();
  return record("conv2d", inputs, out, [=](const Tensor& grad, const Needs& needs) {
    Tensor g;
    if (options.relu) {  // its result is positive exactly where its argument is
      g = is_channels_last(grad) ? in_place_of(grad) : empty_channels_last(grad.shape(), grad.dtype(), grad.device());
      unary_grad_kernel(grad.device(), UnaryOp::kRelu, saved_out.get("conv2d"), grad, g);
    }
    g = to_channels_last(options.relu ? g : grad);
    const Tensor& saved_x = saved_map.get("conv2d");
    const Tensor& saved_w = saved_kernel.get("conv2d");
    Conv2dOptions linear = options;
    linear.relu = false;
    std::vector<Tensor> grads(count);
    if (needs[0]) {
      grads[0] = empty_channels_last(saved_x.shape(), g.dtype(), g.device());
      if (g.numel() > 0) conv2d_grad_input_kernel(g.device(), g, saved_w, {}, linear, grads[0]);
    }
    if (needs[1]) {
      grads[1] = g.numel() > 0 ? Tensor::empty(saved_w.shape(), g.dtype(), g.device())
                               : Tensor::zeros(saved_w.shape(), g.dtype(), g.device());
      if (g.numel() > 0) conv2d_grad_weight_kernel(g.device(), saved_x, g, linear, grads[1]);
    }
    if (count == 3 && needs[2]) grads[2] = sum(channels_last_rows(g), {0});
    return grads;
  });
}

void conv2d_add_into(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Conv2dOptions& options) {
  const Shape shape = check_conv2d(x, weight, bias, options);
  check(y.shape() == shape && y.dtype() == x.dtype() && y.device() == x.device() && is_channels_last(y),
        "conv2d_add_into: expected y of shape {} with its channels last in memory, got {} with strides {}", shape,
        y.shape(), y.strides());
  check(!grad_enabled() ||
            !(requires_grad(y) || requires_grad(x) || requires_grad(weight) || (bias.defined() && requires_grad(bias))),
        "conv2d_add_into: works in place, so that no gradient can be recorded");
  if (y.numel() == 0) return;
  Tensor out = to_channels_last(y.detach());  // the same memory
  conv2d_kernel(x.device(), to_channels_last(x.detach()), dense(weight), dense(bias), options, true, out);
}

}  // namespace usol
