#include "usol/models/patch_backbone.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace usol {

FeatureKind parse_feature_kind(std::string_view text) {
  if (text == "q") return FeatureKind::kQ;
  if (text == "k") return FeatureKind::kK;
  if (text == "v") return FeatureKind::kV;
  if (text == "kqv") return FeatureKind::kKqv;
  fail(ErrorKind::kUsage, fmt::format("features: expected q, k, v or kqv, got '{}'", text));
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

std::int64_t PatchBackbone::checked_layer(const Tensor& images, std::int64_t layer) const {
  const std::int64_t p = patch_px();
  check(images.rank() == 4 && images.size(1) == 3 && images.size(2) > 0 && images.size(3) > 0 &&
            images.size(2) % p == 0 && images.size(3) % p == 0,
        "features: expected images [N, 3, H, W] with H and W multiples of {}, got {}", p, images.shape());
  check(layers() > 0, "features: a model without blocks has no features");
  check(layer >= -layers() && layer < layers(), "features: expected one of {} layers, got {}", layers(), layer);
  return layer < 0 ? layer + layers() : layer;
}

Tensor PatchBackbone::features(const Tensor& images, FeatureKind kind, std::int64_t layer, const Tensor& at) const {
  return layer_features(images, kind, checked_layer(images, layer), at);
}

PatchMaps PatchBackbone::features_and_attention(const Tensor& images, FeatureKind kind, std::int64_t layer) const {
  return layer_maps(images, kind, checked_layer(images, layer));
}

std::unique_ptr<PatchBackbone> load_patch_backbone(StateDict state, std::string_view what, Device device, DType dtype) {
  std::vector<std::string> known;
  for (const PatchBackboneKind& kind : Registry<PatchBackboneKind>::all()) {
    const MakePatchBackbone make = kind.recognise(state);
    known.push_back(kind.recognised);
    if (!make) continue;
    std::erase_if(state, [&](const auto& entry) { return kind.leave_out(entry.first); });
    ParamStore store(std::move(state), device, dtype);
    auto backbone = make(Scope(store));
    store.load_report().require_ok(what);
    return backbone;
  }
  fail(ErrorKind::kFormat,
       fmt::format("{}: not {}; see what the file holds with 'usol info'", what, fmt::join(known, " and not ")));
}

}  // namespace usol
