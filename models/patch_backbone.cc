#include "usol/models/patch_backbone.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/models/detector.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"

namespace usol {

namespace {

constexpr std::array<std::pair<FeatureKind, std::string_view>, 5> kKinds{{{FeatureKind::kQ, "q"},
                                                                          {FeatureKind::kK, "k"},
                                                                          {FeatureKind::kV, "v"},
                                                                          {FeatureKind::kKqv, "kqv"},
                                                                          {FeatureKind::kOut, "out"}}};

// Each patch's vector at length 1; zeros stay zeros.
Tensor at_unit_length(const Tensor& map) {
  const Tensor squares = sum(mul(map, map), {1}, true);
  return div(map, sqrt(affine(squares, 1, 1e-24)));  // the epsilon of PyTorch's normalize, squared
}

// A map of patches of `from_px` on a grid of h x w smaller patches. Sides that a network rounds up or down stand for
// whole patches all the same.
Tensor on_grid(const Tensor& map, std::int64_t from_px, std::int64_t to_px, std::int64_t h, std::int64_t w) {
  if (from_px == to_px) return map;
  const double scale = static_cast<double>(from_px) / static_cast<double>(to_px);
  return interpolate(map, h, w, {.scale_h = scale, .scale_w = scale});
}

// The kind of patch backbone that the tensors are, and how one is made of them; null if they are none.
struct Recognised {
  const PatchBackboneKind* kind = nullptr;
  MakePatchBackbone make;
};
Recognised recognise(const StateDict& state) {
  for (const PatchBackboneKind& kind : Registry<PatchBackboneKind>::all())
    if (MakePatchBackbone make = kind.recognise(state)) return {&kind, std::move(make)};
  return {};
}

}  // namespace

FeatureKind parse_feature_kind(std::string_view text) {
  for (const auto& [kind, name] : kKinds)
    if (text == name) return kind;
  fail(ErrorKind::kUsage, fmt::format("features: expected q, k, v, kqv or out, got '{}'", text));
}

std::string_view name_of(FeatureKind kind) {
  for (const auto& [known, name] : kKinds)
    if (kind == known) return name;
  fail(ErrorKind::kInvalidArgument, "features: unknown kind");
}

Tensor normalised(const Tensor& image, const Normalisation& by) {
  check(image.rank() == 3 && image.size(2) == 3 && image.dtype() == DType::kU8,
        "normalised: expected a u8 image [H, W, 3], got {} {}", image.dtype(), image.shape());
  const std::int64_t pixels = image.size(0) * image.size(1);
  const Tensor dense = image.contiguous();
  Tensor out = Tensor::empty({1, 3, image.size(0), image.size(1)});
  const std::uint8_t* from = dense.data<std::uint8_t>();
  float* to = out.mutable_data<float>();
  for (std::size_t c = 0; c < 3; ++c) {
    std::array<float, 256> table{};
    for (std::size_t v = 0; v < 256; ++v) table[v] = (static_cast<float>(v) / 255.0f - by.mean[c]) / by.deviation[c];
    for (std::int64_t i = 0; i < pixels; ++i)
      to[static_cast<std::int64_t>(c) * pixels + i] = table[from[3 * i + static_cast<std::int64_t>(c)]];
  }
  return out;
}

FeatureParts PatchBackbone::resolved(FeatureParts parts) const {
  check(layers() > 0, "features: a model without blocks has no features");
  check(!parts.empty(), ErrorKind::kUsage, "features: expected at least one kind and one layer");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto& [kind, layer] = parts[i];
    check(has(kind), ErrorKind::kUsage, "features {}: {} has none of that kind, but has {}", name_of(kind), name(),
          name_of(usual_kind()));
    check(layer >= -layers() && layer < layers(), ErrorKind::kUsage,
          "features: expected a layer in 0 to {} of {}, or -1 to {} from the last one back, got {}", layers() - 1,
          name(), -layers(), layer);
    if (layer < 0) layer += layers();
    check(std::find(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(i), parts[i]) ==
              parts.begin() + static_cast<std::ptrdiff_t>(i),
          ErrorKind::kUsage, "features: {} of layer {} is there twice", name_of(kind), layer);
  }
  return parts;
}

std::int64_t PatchBackbone::parts_patch_px(const FeatureParts& parts) const {
  std::int64_t finest = 0;
  for (const FeaturePart& part : resolved(parts)) {
    const std::int64_t side = layer_patch_px(part.layer);
    finest = finest == 0 ? side : std::min(finest, side);
  }
  return finest;
}

PatchMaps PatchBackbone::maps(const Tensor& images, const FeatureParts& wanted, bool attention,
                              const Tensor& at) const {
  const FeatureParts parts = resolved(wanted);
  const std::int64_t p = parts_patch_px(parts);
  check(images.rank() == 4 && images.size(1) == 3 && images.size(2) > 0 && images.size(3) > 0 &&
            (takes_any_size() || (images.size(2) % p == 0 && images.size(3) % p == 0)),
        "features: expected images [N, 3, H, W] with H and W multiples of {}, got {}", p, images.shape());
  check(!attention || has_attention(), ErrorKind::kUsage,
        "{} has no attention: it needs a vision transformer's weights", name());
  PartMaps found = part_maps(images, parts, attention, at);
  if (parts.size() == 1) return {found.parts[0], found.attention};
  const std::int64_t h = (images.size(2) + p - 1) / p, w = (images.size(3) + p - 1) / p;
  for (std::size_t i = 0; i < parts.size(); ++i)
    found.parts[i] = at_unit_length(on_grid(found.parts[i], layer_patch_px(parts[i].layer), p, h, w));
  return {concat(found.parts, 1), found.attention};
}

Tensor PatchBackbone::class_tokens(const Tensor& images) const {
  const std::int64_t p = patch_px();
  check(images.rank() == 4 && images.size(1) == 3 && images.size(2) > 0 && images.size(3) > 0 &&
            images.size(2) % p == 0 && images.size(3) % p == 0,
        "class tokens: expected images [N, 3, H, W] with H and W multiples of {}, got {}", p, images.shape());
  check(has_class_token(), ErrorKind::kUsage, "{} has no class token: it needs a vision transformer's weights", name());
  return tokens_of_class(images);
}

Tensor PatchBackbone::tokens_of_class(const Tensor&) const {
  fail(ErrorKind::kInvalidArgument, fmt::format("{}: no class token", name()));
}

std::optional<StateDict> backbone_of_detector(const StateDict& state) {
  if (recognise(state).kind != nullptr) return std::nullopt;
  for (const BackboneKind& kind : Registry<BackboneKind>::all()) {
    const std::string prefix = "backbone." + kind.bottom;
    StateDict inside;
    for (const auto& [name, tensor] : state)
      if (name.starts_with(prefix)) inside.emplace(name.substr(prefix.size()), tensor);
    if (recognise(inside).kind != nullptr) return inside;
  }
  return std::nullopt;
}

std::unique_ptr<PatchBackbone> load_patch_backbone(StateDict state, std::string_view what, Device device, DType dtype) {
  if (const auto [kind, make] = recognise(state); kind != nullptr) {
    std::erase_if(state, [&leave_out = kind->leave_out](const auto& entry) { return leave_out(entry.first); });
    ParamStore store(std::move(state), device, dtype);
    auto backbone = make(Scope(store));
    store.load_report().require_ok(what);
    return backbone;
  }
  const auto& detectors = Registry<DetectorKind>::all();
  const bool is_detector =
      std::any_of(detectors.begin(), detectors.end(), [&](const DetectorKind& kind) { return kind.recognise(state); });
  check(!is_detector, ErrorKind::kFormat, "{}: a detector whose backbone is no network of patch features by itself",
        what);
  std::vector<std::string> known;
  for (const PatchBackboneKind& kind : Registry<PatchBackboneKind>::all()) known.push_back(kind.recognised);
  fail(ErrorKind::kFormat,
       fmt::format("{}: not {}; see what the file holds with 'usol info'", what, fmt::join(known, " and not ")));
}

}  // namespace usol
