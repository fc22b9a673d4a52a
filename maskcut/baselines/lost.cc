#include "usol/maskcut/baselines/lost.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "usol/ops/gemm.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

// out[i, j] = feature column rows[i] . feature column j; features is [D, n].
void similarities(const Tensor& features, const std::vector<std::int64_t>& rows, std::vector<float>& out) {
  const std::int64_t d = features.size(0), n = features.size(1), count = static_cast<std::int64_t>(rows.size());
  const float* f = features.data<float>();
  std::vector<float> chosen(static_cast<std::size_t>(count * d));
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t k = 0; k < d; ++k) chosen[i * d + k] = f[k * n + rows[i]];
  out.resize(static_cast<std::size_t>(count * n));
  Gemm<float> g;
  g.m = count;
  g.n = n;
  g.k = d;
  g.a = chosen.data();
  g.lda = d;
  g.b = f;
  g.ldb = n;
  g.c = out.data();
  g.ldc = n;
  gemm(g);
}

}  // namespace

std::vector<Discovery> lost(const Tensor& features, std::int64_t patch, const Size& picture,
                            const LostOptions& options) {
  check_patch_features("lost", features, patch, picture);
  check(options.k_patches >= 1, "lost: expected at least one voting patch, got {}", options.k_patches);
  const std::int64_t height = features.size(1), width = features.size(2), n = height * width;
  const Tensor columns = features.contiguous().reshape({features.size(0), n});

  // Degrees, a block of rows at a time: the similarity matrix is never stored.
  constexpr std::int64_t kRows = 256;
  std::vector<std::int64_t> degree(static_cast<std::size_t>(n)), rows;
  std::vector<float> similarity;
  for (std::int64_t first = 0; first < n; first += kRows) {
    rows.resize(static_cast<std::size_t>(std::min(kRows, n - first)));
    std::iota(rows.begin(), rows.end(), first);
    similarities(columns, rows, similarity);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = similarity.begin() + static_cast<std::ptrdiff_t>(i) * n;
      degree[rows[i]] = std::count_if(row, row + n, [](float s) { return s > 0; }) - (row[rows[i]] > 0);
    }
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return degree[a] < degree[b]; });
  order.resize(static_cast<std::size_t>(std::min<std::int64_t>(n, options.k_patches)));

  // The patches like the seed vote; row 0 is the seed's own.
  similarities(columns, order, similarity);
  std::vector<double> votes(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < order.size(); ++i)
    if (similarity[order[i]] > 0)
      for (std::int64_t j = 0; j < n; ++j) votes[j] += similarity[i * n + j];
  Tensor foreground = Tensor::empty(Shape{height, width}, DType::kU8);
  std::uint8_t* f = foreground.mutable_data<std::uint8_t>();
  for (std::int64_t j = 0; j < n; ++j) f[j] = votes[j] > 0;

  Discovery object{component_of(foreground, order[0]), {}, order[0]};
  if (mask_area(object.mask) == 0) return {};
  object.box = pixel_box(object.mask, patch, picture);
  return {object};
}

namespace {

class Lost : public Discoverer {
 public:
  void declare(Settings& settings) override {
    settings.add("k-patches N", k_patches_, "Patches of lowest degree that vote").at_least(1);
  }
  std::string why_undivided() const override {
    return fmt::format("the least similar patch of each resembles all others, and the object is the whole: {}",
                       kOtherFeatures);
  }
  DiscoveredObjects find(const DiscoverScene& scene) const override {
    const auto objects =
        lost(scene.maps.features, scene.patch, scene.pixels, {.k_patches = static_cast<int>(k_patches_)});
    DiscoveredObjects found = in_picture(objects, scene);
    found.undivided = !objects.empty() && mask_area(objects[0].mask) == objects[0].mask.numel();
    return found;
  }

 private:
  std::int64_t k_patches_ = LostOptions{}.k_patches;
};
const RegisterDiscoverer<Lost> kLost("lost", "the patch that resembles fewest others, and those like it");

}  // namespace

}  // namespace usol::maskcut
