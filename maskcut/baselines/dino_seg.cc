#include "usol/maskcut/baselines/dino_seg.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>

#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

// The patches of largest attention that together hold `mass` of it.
Tensor keep_mass(const float* attention, std::int64_t height, std::int64_t width, float mass) {
  const std::int64_t n = height * width;
  const double total = std::accumulate(attention, attention + n, 0.0);
  check(total > 0, "dino-seg: the head's attention is zero everywhere");
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return attention[a] < attention[b]; });
  Tensor kept = Tensor::empty(Shape{height, width}, DType::kU8);
  std::uint8_t* k = kept.mutable_data<std::uint8_t>();
  double below = 0;
  for (const std::int64_t i : order) {
    below += attention[i] / total;
    k[i] = static_cast<float>(below) > 1.0f - mass;
  }
  return kept;
}

// The component that the release takes: the largest of those labelled 1 to count - 1, or the background.
std::int64_t released_choice(const Components& components) {
  if (components.count <= 1) return 0;
  const auto first = components.sizes.begin() + 1;
  return std::max_element(first, first + components.count - 1) - components.sizes.begin();
}

}  // namespace

std::vector<Discovery> dino_seg(const Tensor& attention, std::int64_t patch, const Size& picture,
                                const DinoSegOptions& options) {
  check_patch_features("dino-seg", attention, patch, picture);
  const std::int64_t height = attention.size(1), width = attention.size(2);
  check(options.head >= 0 && options.head < attention.size(0), ErrorKind::kUsage,
        "dino-seg: expected a head below {}, got {}", attention.size(0), options.head);
  check(options.mass > 0 && options.mass <= 1, "dino-seg: expected a mass in (0, 1], got {}", options.mass);
  const Tensor head = attention.select(0, options.head).contiguous();
  const float* a = head.data<float>();
  check(*std::min_element(a, a + head.numel()) >= 0, "dino-seg: the head's attention is negative somewhere");
  const Tensor kept = keep_mass(a, height, width, options.mass);
  Discovery object;
  if (options.preset == Preset::kPaper) {
    object.mask = largest_component(kept);
    object.box = pixel_box(object.mask, patch, picture);
    return {object};
  }
  const Components components = label_components(kept);
  const std::int64_t choice = released_choice(components);
  object.mask = Tensor::empty(kept.shape(), DType::kU8);
  std::uint8_t* m = object.mask.mutable_data<std::uint8_t>();
  const std::int32_t* label = components.labels.data<std::int32_t>();
  for (std::int64_t i = 0; i < kept.numel(); ++i) m[i] = label[i] == choice;
  if (mask_area(object.mask) == 0) return {};  // one component that fills the map
  constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();
  object.box = pixel_box(object.mask, patch, {kFar, kFar});
  return {object};
}

namespace {

class DinoSeg : public Discoverer {
 public:
  void declare(Settings& settings) override {
    settings.add("head N", head_, "The head, from 0").at_least(0);
    settings.add("mass NUMBER", mass_, "Share of the attention that is kept");
  }
  void check(const DiscoverOptions&) const override {
    usol::check(mass_ > 0 && mass_ <= 1, ErrorKind::kUsage, "mass: expected above 0 and at most 1, got {}", mass_);
  }
  bool needs_attention() const override { return true; }
  DiscoveredObjects find(const DiscoverScene& scene) const override {
    return in_picture(
        dino_seg(scene.maps.attention, scene.patch, scene.pixels,
                 {.head = static_cast<int>(head_), .mass = static_cast<float>(mass_), .preset = scene.options.preset}),
        scene);
  }

 private:
  std::int64_t head_ = DinoSegOptions{}.head;
  double mass_ = 0.6;  // as a person writes it
};
const RegisterDiscoverer<DinoSeg> kDinoSeg("dino-seg", "the patches that hold most of one head's attention");

}  // namespace

}  // namespace usol::maskcut
