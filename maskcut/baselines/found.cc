#include "usol/maskcut/baselines/found.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "usol/io/checkpoint.h"
#include "usol/maskcut/affinity.h"
#include "usol/maskcut/bilateral_solver.h"
#include "usol/ops/interpolate.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

void check_map(const char* what, const Tensor& map, int rank) {
  check(map.defined() && map.is_cpu() && map.dtype() == DType::kF32 && map.rank() == rank && map.numel() > 0,
        "found: expected {} as f32 of rank {} on the CPU, got {} {}", what, rank,
        map.defined() ? to_string(map.dtype()) : "no tensor", map.defined() ? to_string(map.shape()) : "");
}

// The largest component of where a map f32 [h, w] is positive, or nothing.
std::vector<Discovery> largest_object(const Tensor& map, std::int64_t patch, const Size& picture) {
  check_patch_features("found", map.unsqueeze(0), patch, picture);
  const Tensor dense = map.contiguous();
  Tensor foreground = Tensor::empty(dense.shape(), DType::kU8);
  std::uint8_t* f = foreground.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < dense.numel(); ++i) f[i] = dense.data<float>()[i] > 0;
  Discovery object;
  object.mask = largest_component(foreground);
  if (mask_area(object.mask) == 0) return {};
  object.box = pixel_box(object.mask, patch, picture);
  return {object};
}

// A map f32 [h, w] bilinearly in pixels, cropped to the picture.
Tensor enlarged(const Tensor& map, std::int64_t patch, const Size& picture) {
  check_patch_features("found", map.unsqueeze(0), patch, picture);
  const std::int64_t height = map.size(0) * patch, width = map.size(1) * patch;
  return interpolate(map.contiguous().reshape({1, 1, map.size(0), map.size(1)}), height, width)
      .reshape({height, width})
      .slice(0, 0, picture.height)
      .slice(1, 0, picture.width)
      .contiguous();
}

// 1 where a background u8 [h, w] is 0, else 0.
Tensor foreground_of(const Tensor& background) {
  check(background.defined() && background.is_cpu() && background.dtype() == DType::kU8 && background.rank() == 2 &&
            background.numel() > 0,
        "found: expected a background u8 [h, w] on the CPU");
  Tensor map = background.to(DType::kF32).contiguous();
  float* m = map.mutable_data<float>();
  for (std::int64_t i = 0; i < map.numel(); ++i) m[i] = m[i] == 0 ? 1.0f : 0.0f;
  return map;
}

}  // namespace

Tensor found_background(const Tensor& keys, const Tensor& attention, const FoundOptions& options) {
  check_map("keys", keys, 3);
  check_map("attention", attention, 3);
  const std::int64_t heads = attention.size(0), height = keys.size(1), width = keys.size(2), n = height * width;
  check(attention.size(1) == height && attention.size(2) == width && keys.size(0) % heads == 0,
        "found: keys {} and attention {} do not belong together", to_string(keys.shape()),
        to_string(attention.shape()));
  const std::int64_t dim = keys.size(0) / heads;

  // A head that attends to few patches tells more about objects.
  const Tensor dense = attention.contiguous();
  const float* a = dense.data<float>();
  double mean = 0;
  for (std::int64_t i = 0; i < heads * n; ++i) mean += a[i];
  const float threshold = static_cast<float>(mean / static_cast<double>(heads * n));
  constexpr double kEps = 1e-10;
  std::vector<double> weight(static_cast<std::size_t>(heads));
  double total = 0;
  for (std::int64_t h = 0; h < heads; ++h) {
    weight[h] = static_cast<double>(std::count_if(a + h * n, a + (h + 1) * n, [&](float v) { return v > threshold; })) /
                    static_cast<double>(n) +
                kEps;
    total += weight[h];
  }
  for (double& w : weight) w = std::log(total / w);

  std::vector<float> attended(static_cast<std::size_t>(n));
  Tensor weighted = keys.contiguous().clone().reshape({heads * dim, n});
  float* k = weighted.mutable_data<float>();
  for (std::int64_t h = 0; h < heads; ++h) {
    const float w = static_cast<float>(weight[h]);
    for (std::int64_t i = 0; i < n; ++i) attended[i] += a[h * n + i] * w;
    for (std::int64_t i = h * dim * n; i < (h + 1) * dim * n; ++i) k[i] *= w;
  }
  const std::int64_t seed = std::min_element(attended.begin(), attended.end()) - attended.begin();

  const Tensor unit = normalize_features(weighted);
  const float* u = unit.data<float>();
  std::vector<double> cosine(static_cast<std::size_t>(n));
  for (std::int64_t c = 0; c < heads * dim; ++c)
    for (std::int64_t i = 0; i < n; ++i) cosine[i] += static_cast<double>(u[c * n + i]) * u[c * n + seed];
  Tensor background = Tensor::empty(Shape{height, width}, DType::kU8);
  std::uint8_t* b = background.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < n; ++i)
    b[i] = static_cast<float>(cosine[i]) > static_cast<float>(options.background_cosine);
  return background;
}

FoundHead load_found_head(const std::filesystem::path& path) {
  io::Checkpoint file;
  try {
    file = io::load_checkpoint(path, {.entry = "decoder"});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUsage) throw;  // no such entry: the tensors are at the top
    file = io::load_checkpoint(path);
  }
  const auto weight = file.tensors.find("weight"), bias = file.tensors.find("bias");
  check(weight != file.tensors.end() && bias != file.tensors.end() && weight->second.rank() == 4 &&
            weight->second.size(0) == 1 && weight->second.numel() == weight->second.size(1) &&
            bias->second.numel() == 1,
        ErrorKind::kFormat, "found: {} has no `weight` [1, D, 1, 1] and `bias` [1]", path.string());
  return {weight->second.to(DType::kF32).contiguous().reshape({-1}), static_cast<float>(bias->second.item())};
}

Tensor found_logits(const Tensor& keys, const FoundHead& head) {
  check_map("keys", keys, 3);
  check_map("the head's weight", head.weight, 1);
  check(head.weight.size(0) == keys.size(0), ErrorKind::kUsage, "found: the head is for {} channels, the keys have {}",
        head.weight.size(0), keys.size(0));
  const Tensor dense = keys.contiguous();
  const Tensor w = head.weight.contiguous();
  const std::int64_t n = keys.size(1) * keys.size(2);
  std::vector<double> sum(static_cast<std::size_t>(n), static_cast<double>(head.bias));
  for (std::int64_t c = 0; c < keys.size(0); ++c)
    for (std::int64_t i = 0; i < n; ++i)
      sum[i] += static_cast<double>(w.data<float>()[c]) * dense.data<float>()[c * n + i];
  Tensor logits = Tensor::empty(Shape{keys.size(1), keys.size(2)});
  std::copy(sum.begin(), sum.end(), logits.mutable_data<float>());
  return logits;
}

std::vector<Discovery> found_foreground(const Tensor& background, std::int64_t patch, const Size& picture) {
  return largest_object(foreground_of(background), patch, picture);
}

Saliency found_foreground_saliency(const Tensor& background, std::int64_t patch, const Size& picture) {
  const Tensor large = enlarged(foreground_of(background), patch, picture);
  Saliency saliency{large.to(DType::kF64), Tensor::empty(large.shape(), DType::kU8)};
  std::uint8_t* mask = saliency.mask.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < large.numel(); ++i) mask[i] = large.data<float>()[i] > 0.5f;
  return saliency;
}

std::vector<Discovery> found(const Tensor& logits, std::int64_t patch, const Size& picture) {
  check_map("logits", logits, 2);
  return largest_object(logits, patch, picture);
}

Saliency found_saliency(const Tensor& logits, std::int64_t patch, const Size& picture) {
  check_map("logits", logits, 2);
  const Tensor large = enlarged(logits, patch, picture);
  Saliency saliency{Tensor::empty(large.shape(), DType::kF64), Tensor::empty(large.shape(), DType::kU8)};
  double* soft = saliency.soft.mutable_data<double>();
  std::uint8_t* mask = saliency.mask.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < large.numel(); ++i) {
    const double logit = large.data<float>()[i];
    soft[i] = 1 / (1 + std::exp(-logit));
    mask[i] = logit > 0;
  }
  return saliency;
}

Tensor found_refine(const Tensor& mask, const Tensor& image, bool single) {
  const Tensor soft = BilateralSolver(image).solve(mask);
  const Tensor refined = single ? saliency_mask(soft, Preset::kRelease) : all_but_largest(soft);
  return mask_iou(mask, refined) > 0.5 ? refined : mask;
}

namespace {

// Whether a map [h, w], of logits or of the background's 0 and 1, has all of its values above 0, or none.
bool all_alike(const Tensor& map) {
  const Tensor dense = map.to(DType::kF32).contiguous();
  const float* values = dense.data<float>();
  const std::int64_t positive = std::count_if(values, values + dense.numel(), [](float v) { return v > 0; });
  return positive == 0 || positive == dense.numel();
}

class Found : public Discoverer {
 public:
  void declare(Settings& settings) override {
    declare_task(settings, task_, bilateral_, "auto: off");
    settings.choice("found-stage", stage_, {"layer", "background"},
                    "By the trained layer, or by the first stage alone, which needs none: what is not background");
    settings.when("found-stage", "layer", [this](Settings& s) {
      s.add("found-weights FILE", weights_,
            "The trained layer, the published decoder_weights.pt or one that train-head made", OptionKind::kRun);
    });
  }
  void check(const DiscoverOptions& options) const override {
    check_task(gives_maps(), options);
    usol::check(background_only() || !weights_.empty(), ErrorKind::kUsage,
                "method found needs its trained layer: give found-weights (scripts/download-weights found_vits8 "
                "fetches the published file), or make one from your pictures (train-head), or do without: found-stage "
                "background");
  }
  bool needs_attention() const override { return background_only(); }
  bool gives_maps() const override { return task_ == "saliency"; }
  std::vector<std::pair<std::string, std::string>> files() const override {
    if (background_only()) return {};
    return {{"found-weights", weights_}};
  }
  void load() override {
    if (!background_only()) head_ = load_found_head(weights_);
  }
  std::string why_undivided() const override {
    if (!background_only())
      return "the trained layer has one answer for all patches of each: it needs the features that it was trained on";
    return fmt::format("all patches of each have a cosine above {} with that of least attention: {}",
                       FoundOptions{}.background_cosine, kOtherFeatures);
  }
  DiscoveredObjects find(const DiscoverScene& scene) const override {
    const Tensor map = background_only() ? found_background(scene.maps.features, scene.maps.attention)
                                         : found_logits(scene.maps.features, head_);
    DiscoveredObjects found = gives_maps() ? as_found(saliency(map, scene)) : in_picture(objects(map, scene), scene);
    found.undivided = all_alike(map);
    return found;
  }

 private:
  bool background_only() const { return stage_ == "background"; }
  std::vector<Discovery> objects(const Tensor& map, const DiscoverScene& scene) const {
    return background_only() ? found_foreground(map, scene.patch, scene.pixels)
                             : usol::maskcut::found(map, scene.patch, scene.pixels);
  }
  Saliency saliency(const Tensor& map, const DiscoverScene& scene) const {
    Saliency saliency = background_only() ? found_foreground_saliency(map, scene.patch, scene.pixels)
                                          : found_saliency(map, scene.patch, scene.pixels);
    if (bilateral_ == "on") {
      saliency.mask = found_refine(saliency.mask, scene.image);
      saliency.soft = saliency.mask.to(DType::kF64);
    }
    return saliency;
  }

  std::string task_ = "objects", bilateral_ = "auto", stage_ = "layer", weights_;
  FoundHead head_;
};
const RegisterDiscoverer<Found> kFound("found", "what is not background, by a small trained layer");

}  // namespace

}  // namespace usol::maskcut
