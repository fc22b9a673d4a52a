#include "usol/ops/conv2d_grad_input_bf16.h"

#include <algorithm>
#include <array>

#include "usol/ops/linear_bf16.h"
#include "usol/ops/weight_cache.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {

bool grad_input_bf16_fits(const Tensor& grad, const Tensor& weight, const Conv2dOptions& o, const Tensor& out) {
  using Pair = std::array<std::int64_t, 2>;
  return grad.dtype() == DType::kBF16 && weight.size(2) * weight.size(3) > 1 &&
         o.stride == Pair{weight.size(2), weight.size(3)} && o.padding == Pair{0, 0} && o.dilation == Pair{1, 1} &&
         o.groups == 1 && out.size(2) == grad.size(2) * o.stride[0] && out.size(3) == grad.size(3) * o.stride[1] &&
         linear_bf16_takes(weight.size(0));
}

void conv2d_grad_input_bf16(const Bf16Products& products, const Tensor& grad, const Tensor& weight, const Tensor& bias,
                            const Conv2dOptions& options, Tensor& out) {
  static auto& cache = *new WeightCache<Tensor>;  // outlives every tensor
  const std::int64_t ins = weight.size(0), outs = weight.size(1), kh = weight.size(2), kw = weight.size(3);
  // [I, O, kh, kw] -> [kh kw O, I]: what each tap of the kernel makes of a pixel.
  const Tensor taps = cache.find_or_make(
      weight,
      [&](const Tensor& made) {
        return made.shape() == Shape{kh * kw * outs, ins};
      },
      [&] {
        return weight.permute({2, 3, 1, 0}).contiguous().reshape({kh * kw * outs, ins});
      });
  const Tensor repeated = bias.defined() ? bias.unsqueeze(0).expand({kh * kw, outs}).contiguous().reshape({-1}) : bias;
  const Tensor pixels = channels_last_rows(grad);
  Tensor results = Tensor::empty({pixels.size(0), kh * kw * outs}, DType::kBF16);
  linear_bf16(products, pixels, taps, repeated, options.relu ? Activation::kRelu : Activation::kNone, false, results);
  const bf16* from = results.data<bf16>();
  out.storage()->bump_version();
  auto* to = reinterpret_cast<bf16*>(out.raw());
  const std::int64_t width = grad.size(3), row = kw * outs;  // a pixel's results in one line of the map
  parallel_for(0, out.size(0) * out.size(2), 1, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t line = first; line < end; ++line)
      for (std::int64_t x = 0; x < width; ++x)
        std::copy_n(from + ((line / kh * width + x) * kh + line % kh) * row, row, to + (line * width + x) * row);
  });
}

}  // namespace usol
