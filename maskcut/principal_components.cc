#include "usol/maskcut/principal_components.h"

#include <algorithm>
#include <cmath>

#include "usol/ops/elementwise.h"
#include "usol/ops/matmul.h"
#include "usol/ops/reduce.h"
#include "usol/ops/symmetric_eigen.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

constexpr double kVividness = 2;  // of the colours: DINOv3's notebook

// [D, h, w] -> f64 [D, h w], dense, on the CPU.
Tensor columns(const Tensor& features) {
  check(features.rank() == 3 && is_floating(features.dtype()) && features.numel() > 0,
        "principal components: expected floating features [D, h, w], got {} {}", features.dtype(), features.shape());
  return features.to(Device::cpu())
      .to(DType::kF64)
      .contiguous()
      .reshape({features.size(0), features.size(1) * features.size(2)});
}

}  // namespace

void PatchMoments::add(const Tensor& features) {
  const Tensor patches = columns(features);
  if (patches_ == 0) {
    origin_ = mean(patches, {1}, true);
    sum_ = Tensor::zeros(origin_.shape(), DType::kF64);
    product_ = Tensor::zeros({patches.size(0), patches.size(0)}, DType::kF64);
  }
  check(patches.size(0) == origin_.size(0), "principal components: expected features of {} numbers, got {}",
        origin_.size(0), patches.size(0));
  const Tensor away = sub(patches, origin_);
  sum_ = usol::add(sum_, usol::sum(away, {1}, true));
  product_ = usol::add(product_, matmul(away, away.transpose(0, 1)));
  patches_ += patches.size(1);
}

PrincipalComponents PatchMoments::components(std::int64_t count) const {
  check(patches_ > 0, "principal components: there are no patches");
  const double n = static_cast<double>(patches_);
  const Tensor about_mean = sub(product_, affine(matmul(sum_, sum_.transpose(0, 1)), 1 / n));
  const Tensor covariance = affine(about_mean, 1 / std::max(n - 1, 1.0));
  const SymmetricEigen eigen = symmetric_eigen(covariance, std::min(count, covariance.size(0)));
  PrincipalComponents found{usol::add(origin_, affine(sum_, 1 / n)).reshape({covariance.size(0)}),
                            eigen.vectors.clone(), eigen.values.clone()};
  auto* values = found.deviations.mutable_data<double>();
  auto* rows = found.components.mutable_data<double>();
  const std::int64_t width = found.components.size(1);
  // What rounding leaves of the variance of patches that are alike.
  const double nothing = 1e-12 * std::max(values[0], 0.0);
  for (std::int64_t i = 0; i < found.components.size(0); ++i) {
    values[i] = values[i] > nothing ? std::sqrt(values[i]) : 0;
    double* row = rows + i * width;
    const double* peak =
        std::max_element(row, row + width, [](double a, double b) { return std::abs(a) < std::abs(b); });
    if (*peak < 0) std::transform(row, row + width, row, [](double x) { return -x; });
  }
  return found;
}

Tensor PrincipalComponents::scores(const Tensor& features) const {
  const Tensor patches = columns(features);
  check(patches.size(0) == mean.size(0), "principal components: expected features of {} numbers, got {}", mean.size(0),
        patches.size(0));
  Tensor scores = matmul(components, sub(patches, mean.reshape({mean.size(0), 1})));
  for (std::int64_t i = 0; i < deviations.size(0); ++i) {
    const double deviation = deviations.data<double>()[i];
    double* row = scores.mutable_data<double>() + i * scores.size(1);
    for (std::int64_t p = 0; p < scores.size(1); ++p) row[p] = deviation > 0 ? row[p] / deviation : 0;
  }
  return scores.reshape({scores.size(0), features.size(1), features.size(2)});
}

Tensor component_colours(const Tensor& scores, std::int64_t patch_px) {
  check(scores.rank() == 3 && scores.dtype() == DType::kF64 && patch_px >= 1,
        "component colours: expected f64 scores [count, h, w], got {} {}", scores.dtype(), scores.shape());
  const Tensor dense = scores.contiguous();
  const std::int64_t h = dense.size(1), w = dense.size(2);
  Tensor image = Tensor::empty({h * patch_px, w * patch_px, 3}, DType::kU8);
  std::uint8_t* to = image.mutable_data<std::uint8_t>();
  for (std::int64_t y = 0; y < h * patch_px; ++y)
    for (std::int64_t x = 0; x < w * patch_px; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        const double score = c < dense.size(0) ? dense.data<double>()[(c * h + y / patch_px) * w + x / patch_px] : 0;
        *to++ = static_cast<std::uint8_t>(std::lround(255 / (1 + std::exp(-kVividness * score))));
      }
  return image;
}

}  // namespace usol::maskcut
