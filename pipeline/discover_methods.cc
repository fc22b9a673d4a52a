#include "usol/pipeline/discover_methods.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "usol/io/sha256.h"
#include "usol/maskcut/baselines/bisecting_kmeans.h"
#include "usol/maskcut/baselines/dino_seg.h"
#include "usol/maskcut/baselines/lost.h"
#include "usol/maskcut/baselines/tokencut.h"
#include "usol/maskcut/image_mask.h"
#include "usol/maskcut/maskcut.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr double kOwnTau = 2;  // no cosine: "the method's own"
constexpr std::int64_t kMaskcutSize = 480;

Tensor from_frame(const Tensor& mask, std::int64_t patch, const Size& pixels, const Tensor& image) {
  const Tensor frame = maskcut::pixel_mask(mask, patch, pixels);
  if (pixels == Size{image.size(0), image.size(1)}) return frame;
  return maskcut::mask_to_image_size(frame, image.size(0), image.size(1), Preset::kPaper);
}

void add_mask(DiscoveredObjects& found, Tensor mask) {
  if (maskcut::mask_area(mask) == 0) return;
  const io::Box box = io::rle_to_box(io::rle_encode(mask));
  found.objects.push_back({std::move(mask), box});
}

}  // namespace

const std::vector<std::string>& discover_methods() {
  static const std::vector<std::string> names = {"tokencut", "tokencut-3ev",     "lost",   "found",
                                                 "dino-seg", "bisecting-kmeans", "maskcut"};
  return names;
}

void DiscoverMethod::declare(Settings& settings) {
  settings.group("Method");
  settings.choice("method", method_, discover_methods(), "What finds the objects");
  settings.preset(preset_, {{"paper", {}}, {"release", {{"exif", "false"}}}},
                  "paper: as published. release: as the methods' public code does it (docs/deviations.md)");
  settings.choice(
      "task", task_, {"objects", "saliency"},
      "objects: boxes and masks in steps of a patch. saliency (tokencut, found): one fine mask and a soft map");
  settings.choice("bilateral", bilateral_, {"auto", "on", "off"},
                  "Fit saliency to the picture's edges with the bilateral solver. auto: tokencut on, found off");
  settings
      .add("tau NUMBER", tau_,
           "tokencut, bisecting-kmeans, maskcut: patches are connected above this cosine (2: the method's own, 0.2, "
           "0.2 and 0.15)")
      .between(-1, kOwnTau);
  settings.add("k-patches N", k_patches_, "lost: patches of lowest degree that vote").at_least(1);
  settings.add("head N", head_index_, "dino-seg: the head, from 0").at_least(0);
  settings.add("mass NUMBER", mass_, "dino-seg: share of the attention that is kept");
  settings.add("clusters N", clusters_, "bisecting-kmeans: most objects a picture can get").at_least(1);
  settings.choice("found-stage", found_stage_, {"layer", "background"},
                  "found: by the trained layer, or by the first stage alone, which needs none: what is not background");
  settings.add("found-weights FILE", head_path_,
               "found: the trained layer, the published decoder_weights.pt or one that train-head made",
               OptionKind::kRun);
}

void DiscoverMethod::settle(FeatureOptions& source, std::uint64_t seed) {
  const bool token_cut = method_.starts_with("tokencut"), mask_cut = method_ == "maskcut";
  const auto only = [&](bool changed, const char* option, bool fits) {
    check(!changed || fits, ErrorKind::kUsage, "{} means nothing to method {}", option, method_);
  };
  only(tau_ != kOwnTau, "tau", token_cut || mask_cut || method_ == "bisecting-kmeans");
  only(k_patches_ != 100, "k-patches", method_ == "lost");
  only(head_index_ != 4, "head", method_ == "dino-seg");
  only(mass_ != 0.6, "mass", method_ == "dino-seg");
  only(clusters_ != 3, "clusters", method_ == "bisecting-kmeans");
  only(found_stage_ != "layer", "found-stage", method_ == "found");
  only(!head_path_.empty(), "found-weights", method_ == "found");
  check(head_path_.empty() || !background_only(), ErrorKind::kUsage,
        "found-stage background works without a layer; leave out found-weights");
  only(saliency(), "task saliency", method_ == "tokencut" || method_ == "found");
  check(bilateral_ == "auto" || saliency(), ErrorKind::kUsage, "bilateral goes with task saliency");
  check(mass_ > 0 && mass_ <= 1, ErrorKind::kUsage, "mass: expected above 0 and at most 1, got {}", mass_);
  check(source.size == 0 || source.size >= 8, ErrorKind::kUsage, "size: expected 0 or at least 8, got {}", source.size);
  check(source.size == 0 || !saliency(), ErrorKind::kUsage,
        "task saliency works at each picture's own size; leave out size");
  check(source.size != 0 || mask_cut || !source.native_aspect, ErrorKind::kUsage,
        "native-aspect needs a size; without, pictures keep their own");
  if (tau_ == kOwnTau && (token_cut || mask_cut || method_ == "bisecting-kmeans")) tau_ = mask_cut ? 0.15 : 0.2;
  if (mask_cut && source.size == 0) source.size = kMaskcutSize;
  source.framing = source.size != 0 ? Framing::kFrame : saliency() && token_cut ? Framing::kNearest : Framing::kPadded;
  source.attention = method_ == "dino-seg" || background_only();
  size_ = source.size;
  native_aspect_ = source.native_aspect;
  seed_ = seed;
}

void DiscoverMethod::load() {
  if (method_ != "found" || background_only()) return;
  check(!head_path_.empty(), ErrorKind::kUsage,
        "method found needs its trained layer: give found-weights (scripts/download-weights found_vits8 fetches the "
        "published file), or make one from your pictures (train-head), or do without: found-stage background");
  check(std::filesystem::exists(head_path_), ErrorKind::kUsage, "found-weights {}: no such file", head_path_);
  head_sha256_ = io::sha256_file(head_path_);
  head_ = maskcut::load_found_head(head_path_);
}

std::vector<maskcut::Discovery> DiscoverMethod::discover(const PatchMaps& maps, std::int64_t patch,
                                                         const Size& pixels) const {
  if (method_ == "lost") return maskcut::lost(maps.features, patch, pixels, {.k_patches = static_cast<int>(k_patches_)});
  if (background_only())
    return maskcut::found_foreground(maskcut::found_background(maps.features, maps.attention), patch, pixels);
  if (method_ == "found") return maskcut::found(maskcut::found_logits(maps.features, head_), patch, pixels);
  if (method_ == "dino-seg") {
    return maskcut::dino_seg(
        maps.attention, patch, pixels,
        {.head = static_cast<int>(head_index_), .mass = static_cast<float>(mass_), .preset = preset()});
  }
  if (method_ == "bisecting-kmeans") {
    return maskcut::bisecting_kmeans(maps.features, patch, pixels,
                                     {.tau = tau_, .clusters = static_cast<int>(clusters_), .seed = seed_});
  }
  return maskcut::tokencut(maps.features, patch, pixels,
                           {.tau = tau_, .eigenvectors = method_ == "tokencut-3ev" ? 3 : 1});
}

DiscoveredObjects DiscoverMethod::find_maskcut(const PatchMaps& maps, const Tensor& image, std::int64_t patch) const {
  maskcut::MaskCutOptions options;
  options.preset = preset();
  options.tau = tau_;
  options.size = size_;
  options.patch = patch;
  options.native_aspect = native_aspect_;
  DiscoveredObjects found;
  for (maskcut::PseudoMask& mask : maskcut::maskcut(maps.features, image, options).masks) {
    const io::Box box = io::rle_to_box(io::rle_encode(mask.mask));
    found.objects.push_back({std::move(mask.mask), box, mask.score});
  }
  return found;
}

DiscoveredObjects DiscoverMethod::find_saliency(const PatchMaps& maps, const Tensor& image, std::int64_t patch,
                                                const Size& pixels) const {
  maskcut::Saliency saliency{Tensor::zeros({image.size(0), image.size(1)}, DType::kF64),
                             Tensor::zeros({image.size(0), image.size(1)}, DType::kU8)};
  if (method_ == "tokencut") {
    const std::vector<maskcut::Discovery> objects = discover(maps, patch, pixels);
    if (!objects.empty() && bilateral_ != "off") {
      saliency = maskcut::tokencut_saliency(objects[0].mask, image, preset());
    } else if (!objects.empty()) {
      saliency.mask = maskcut::upsample_nearest(objects[0].mask, {image.size(0), image.size(1)});
      saliency.soft = saliency.mask.to(DType::kF64);
    }
  } else {
    saliency = background_only() ? maskcut::found_foreground_saliency(
                                       maskcut::found_background(maps.features, maps.attention), patch, pixels)
                                 : maskcut::found_saliency(maskcut::found_logits(maps.features, head_), patch, pixels);
    if (bilateral_ == "on") {
      saliency.mask = maskcut::found_refine(saliency.mask, image);
      saliency.soft = saliency.mask.to(DType::kF64);
    }
  }
  DiscoveredObjects found;
  found.soft = saliency.soft;
  add_mask(found, saliency.mask);
  return found;
}

DiscoveredObjects DiscoverMethod::find(const PatchMaps& maps, const Tensor& image, std::int64_t patch,
                                       const Size& pixels) const {
  if (method_ == "maskcut") return find_maskcut(maps, image, patch);
  if (saliency()) return find_saliency(maps, image, patch, pixels);
  DiscoveredObjects found;
  const bool own_size = pixels == Size{image.size(0), image.size(1)};
  for (const maskcut::Discovery& object : discover(maps, patch, pixels)) {
    add_mask(found, from_frame(object.mask, patch, pixels, image));
    // At the picture's own size the method's box is the result; it may differ from the mask's (dino-seg, release).
    if (!own_size || found.objects.empty()) continue;
    const maskcut::PixelBox& b = object.box;
    found.objects.back().box = {static_cast<double>(b.x0), static_cast<double>(b.y0), static_cast<double>(b.x1 - b.x0),
                                static_cast<double>(b.y1 - b.y0)};
  }
  return found;
}

}  // namespace usol
