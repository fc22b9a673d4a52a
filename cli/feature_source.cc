#include "cli/feature_source.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "autograd/grad_mode.h"
#include "cli/provenance.h"
#include "io/checkpoint.h"
#include "io/npy.h"
#include "io/resize.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "maskcut/colour_features.h"
#include "maskcut/frame.h"
#include "models/vit.h"
#include "tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr const char* kColourDescription =
    "local colour, texture and position (classical normalized cut, Shi & Malik 2000), not learned";

// The picture at the size of the frame, and then at whole patches, as the reference resizes it.
Tensor to_frame(const Tensor& image, std::int64_t size, std::int64_t patch, bool native_aspect) {
  const FrameSize frame = working_size(image.size(0), image.size(1), size, patch, native_aspect);
  const FrameSize grid = patch_grid(frame, patch);
  const Tensor framed = resize(image, frame.height, frame.width, Filter::kLanczos);
  return resize(framed, grid.height * patch, grid.width * patch, Filter::kLanczos);
}

class DinoSource : public FeatureSource {
 public:
  DinoSource(Vit vit, const FeatureOptions& options, Device device)
      : vit_(std::move(vit)),
        kind_(parse_feature_kind(options.kind)),
        size_(options.size),
        native_aspect_(options.native_aspect),
        device_(device) {}

  Tensor prepare(const InputImage&, const Tensor& image) const override {
    return normalise_for_vit(to_frame(image, size_, patch(), native_aspect_));
  }
  std::string name() const { return vit_.config().name(); }
  Tensor features(const Tensor& prepared) const override {
    const NoGrad no_grad;
    return vit_.features(prepared.to(device_), kind_).select(0, 0);
  }
  std::int64_t patch() const override { return vit_.config().patch; }
  void describe(nlohmann::ordered_json& info) const override { info["features"] = name(); }

 private:
  Vit vit_;
  FeatureKind kind_;
  std::int64_t size_;
  bool native_aspect_;
  Device device_;
};

class ColourSource : public FeatureSource {
 public:
  explicit ColourSource(const FeatureOptions& options)
      : size_(options.size), patch_(options.patch), native_aspect_(options.native_aspect) {}

  Tensor prepare(const InputImage&, const Tensor& image) const override { return image; }
  Tensor features(const Tensor& image) const override {
    return colour_features(image, working_size(image.size(0), image.size(1), size_, patch_, native_aspect_), patch_);
  }
  std::int64_t patch() const override { return patch_; }
  void describe(nlohmann::ordered_json& info) const override { info["features"] = kColourDescription; }

 private:
  std::int64_t size_, patch_;
  bool native_aspect_;
};

class FileSource : public FeatureSource {
 public:
  explicit FileSource(const FeatureOptions& options) : folder_(options.from_features), patch_(options.patch) {
    check(fs::is_directory(folder_), ErrorKind::kUsage, "--from-features {}: no such folder", folder_.string());
    const fs::path list = folder_ / "features.json";
    if (fs::exists(list)) made_ = read_info(list);
  }

  Tensor prepare(const InputImage& input, const Tensor&) const override {
    const fs::path safetensors = output_path(folder_, input.file_name, ".safetensors");
    const fs::path npy = output_path(folder_, input.file_name, ".npy");
    Tensor features;
    fs::path path = safetensors;
    if (fs::exists(safetensors)) {
      const auto tensors = load_safetensors(safetensors);
      const auto found = tensors.find("features");
      check(found != tensors.end(), ErrorKind::kFormat, "{}: holds no tensor 'features'", safetensors.string());
      features = found->second;
    } else {
      check(fs::exists(npy), ErrorKind::kIo, "no features for {}: neither {} nor {} exists", input.file_name,
            safetensors.string(), npy.string());
      features = load_npy(npy);
      path = npy;
    }
    check(features.rank() == 3 && is_floating(features.dtype()) && features.numel() > 0, ErrorKind::kFormat,
          "{}: expected floating features [D, h, w], got {} {}", path.string(), features.dtype(), features.shape());
    return features.to(DType::kF32).contiguous();
  }
  Tensor features(const Tensor& prepared) const override { return prepared; }
  std::int64_t patch() const override { return patch_; }
  void describe(nlohmann::ordered_json& info) const override {
    info["features"] = "read from files";
    if (!made_.is_null()) info["features_info"] = made_;
  }

 private:
  fs::path folder_;
  nlohmann::ordered_json made_;  // how the files were made, if `usol features` made them
  std::int64_t patch_;
};

}  // namespace

void FeatureOptions::declare(Options& options, bool files) {
  options.group("Features");
  options.add("--weights FILE", weights,
              "DINO or DINOv2 weights (.pth, .safetensors); scripts/download-weights fetches them", OptionKind::kRun);
  options.choice("--backbone", backbone, {"dino", "colour"},
                 "dino: a vision transformer, needs --weights. colour: the classical normalized cut on colour, texture "
                 "and position, needs nothing");
  options.choice("--features", kind, {"k", "q", "v", "kqv"}, "Projection of the last block that is the feature");
  if (files) {
    options.add("--from-features DIR", from_features,
                "Take features from files: <name without extension>.safetensors (tensor 'features' [D, h, w]) or .npy",
                OptionKind::kRun);
  }
  options.add("--size PX", size, "Side of the square that pictures are resized to");
  options.at_least("size", 8);
  options.at_most("size", 16384);
  options.add("--patch PX", patch, "Patch of features that do not come from weights, which know their own");
  options.at_least("patch", 1);
  options.at_most("patch", 1024);
  options.flag("--native-aspect", native_aspect, "Keep each picture's aspect ratio, at about size x size pixels");
}

std::unique_ptr<FeatureSource> FeatureOptions::open(const Common& common) {
  const auto is_colour = backbone == "colour";
  check(weights.empty() || from_features.empty(), ErrorKind::kUsage,
        "--weights and --from-features are two sources of features; give one");
  check(!is_colour || (weights.empty() && from_features.empty()), ErrorKind::kUsage,
        "--backbone colour makes its own features; leave out --weights and --from-features");
  check(!weights.empty() || !from_features.empty() || is_colour, ErrorKind::kUsage,
        "no features to cut: give --weights FILE (DINO weights; scripts/download-weights fetches them), or --backbone "
        "colour (the classical normalized cut, nothing needed), or --from-features DIR");
  if (!from_features.empty()) {
    backbone = "files";
    return std::make_unique<FileSource>(*this);
  }
  if (is_colour) return std::make_unique<ColourSource>(*this);
  backbone = "dino";
  check(fs::exists(weights), ErrorKind::kUsage, "--weights {}: no such file", weights);
  weights_sha256_ = sha256_file(weights);
  const Device device = common.device();
  const DType dtype = common.compute_dtype(device);
  Checkpoint checkpoint = load_checkpoint(weights);
  for (const auto& text : checkpoint.applied) common.detail("{}: {}", weights, text);
  auto source = std::make_unique<DinoSource>(Vit::from_state(std::move(checkpoint.tensors), weights, device, dtype),
                                             *this, device);
  patch = source->patch();
  common.note("{}: {} on {}", weights, source->name(), to_string(device));
  return source;
}

}  // namespace usol
