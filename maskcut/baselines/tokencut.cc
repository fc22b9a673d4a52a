#include "usol/maskcut/baselines/tokencut.h"

#include <cmath>
#include <numeric>
#include <span>

#include "usol/maskcut/affinity.h"
#include "usol/maskcut/bilateral_solver.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

// The side of x's mean that holds its most extreme element, and that element's component.
// x has canonical sign: its most extreme element is positive.
Discovery object_of(std::span<const double> x, std::int64_t height, std::int64_t width) {
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
  Tensor foreground = Tensor::empty(Shape{height, width}, DType::kU8);
  std::uint8_t* f = foreground.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < x.size(); ++i) f[i] = x[i] > mean;
  Discovery object;
  object.seed = argmax(x);
  object.mask = component_of(foreground, object.seed);
  return object;
}

}  // namespace

std::vector<Discovery> tokencut(const Tensor& features, std::int64_t patch, const Size& picture,
                                const TokenCutOptions& options) {
  check_patch_features("tokencut", features, patch, picture);
  check(options.eigenvectors >= 1, "tokencut: expected at least one eigenvector, got {}", options.eigenvectors);
  const std::int64_t height = features.size(1), width = features.size(2), patches = height * width;
  const PatchGraph graph(normalize_features(features.contiguous().reshape({features.size(0), patches})),
                         {.tau = options.tau, .inclusive = false, .eps = options.eps});
  const CutVectors cuts = smallest_eigenvectors(graph, options.eigenvectors, options.eigensolver);
  std::vector<Discovery> objects;
  for (std::int64_t i = 0; i < cuts.found(); ++i) {
    const Tensor x = cuts.vectors.select(0, i).contiguous();
    objects.push_back(object_of({x.data<double>(), static_cast<std::size_t>(patches)}, height, width));
    objects.back().box = pixel_box(objects.back().mask, patch, picture);
  }
  return objects;
}

Saliency tokencut_saliency(const Tensor& object, const Tensor& image, Preset preset) {
  const BilateralSolver solver(image);
  Saliency saliency;
  saliency.soft = solver.solve(upsample_nearest(object, {image.size(0), image.size(1)}));
  saliency.mask = saliency_mask(saliency.soft, preset);
  return saliency;
}

}  // namespace usol::maskcut
