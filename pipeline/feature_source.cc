#include "usol/pipeline/feature_source.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "usol/autograd/grad_mode.h"
#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/npy.h"
#include "usol/io/resize.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/colour_features.h"
#include "usol/maskcut/contrast_features.h"
#include "usol/maskcut/frame.h"
#include "usol/models/detector.h"
#include "usol/models/patch_backbone.h"
#include "usol/pipeline/normalisation.h"
#include "usol/pipeline/provenance.h"
#include "usol/tensor/check.h"
#include "usol/tensor/graph.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr const char* kPatchKey = "patch_px";  // in the info of files of features
constexpr std::int64_t kUsualSide = 560;       // of pictures that keep their size: 640 x 480, about

// Features without a network.
struct ClassicalKind {
  const char* backbone;
  const char* description;
  Tensor (*features)(const Tensor& image, const Size& frame, std::int64_t patch);
};

constexpr ClassicalKind kClassicalKinds[] = {
    {"contrast",
     "classical, not learned: contrast with the picture's border (minimum barrier distance, Zhang et al. 2015; "
     "boundary "
     "connectivity, Zhu et al. 2014), with colour, texture and position as the affinity of a normalized cut (Shi & "
     "Malik "
     "2000)",
     maskcut::contrast_features},
    {"colour", "local colour, texture and position (classical normalized cut, Shi & Malik 2000), not learned",
     maskcut::colour_features}};

// Null for a backbone that is none of them.
const ClassicalKind* find_classical(const std::string& backbone) {
  for (const ClassicalKind& kind : kClassicalKinds)
    if (backbone == kind.backbone) return &kind;
  return nullptr;
}

Size size_of(const Tensor& image) { return {image.size(0), image.size(1)}; }

// Multiples of the patch that cover n pixels.
std::int64_t covered(std::int64_t n, std::int64_t patch) { return (n + patch - 1) / patch * patch; }

// The pixels that the features are made of: whole patches, but for kPadded, and for kShortSide with a network that
// takes any size.
Size frame_pixels(const FeatureOptions& options, const Size& own, std::int64_t patch) {
  if (options.framing == Framing::kPadded) return own;
  if (options.framing == Framing::kShortSide) {
    const Size resized = network_size(own, options.short_side.px, options.short_side.most_px);
    if (!options.whole_patches) return resized;
    const Size grid = maskcut::patch_grid(resized, patch);
    return {grid.height * patch, grid.width * patch};
  }
  const Size frame = options.framing == Framing::kNearest
                         ? own
                         : maskcut::working_size(own.height, own.width, options.size, patch, options.native_aspect);
  const Size grid = maskcut::patch_grid(frame, patch);
  return {grid.height * patch, grid.width * patch};
}

// The picture at the size of the frame, and then at whole patches, as the reference resizes it.
Tensor to_frame(const FeatureOptions& options, const Tensor& image, std::int64_t patch) {
  const Size pixels = frame_pixels(options, size_of(image), patch);
  if (options.framing == Framing::kShortSide) return resize(image, pixels.height, pixels.width, io::Filter::kBilinear);
  if (options.framing != Framing::kFrame) return resize(image, pixels.height, pixels.width, io::Filter::kLanczos);
  const Size frame = maskcut::working_size(image.size(0), image.size(1), options.size, patch, options.native_aspect);
  const Tensor framed = resize(image, frame.height, frame.width, io::Filter::kLanczos);
  return resize(framed, pixels.height, pixels.width, io::Filter::kLanczos);
}

// [1, 3, H, W] with zeros below and to the right, to whole patches.
Tensor pad_with_zeros(const Tensor& image, std::int64_t patch) {
  const std::int64_t height = image.size(2), width = image.size(3);
  Tensor out = Tensor::zeros({1, 3, covered(height, patch), covered(width, patch)});
  out.slice(2, 0, height).slice(3, 0, width).copy_from(image);
  return out;
}

// [H, W, 3] with its last row and column repeated, to whole patches: features that look at colours have no use for
// black borders.
Tensor pad_with_border(const Tensor& image, std::int64_t patch) {
  const std::int64_t height = image.size(0), width = image.size(1);
  Tensor out = Tensor::empty({covered(height, patch), covered(width, patch), 3}, DType::kU8);
  out.slice(0, 0, height).slice(1, 0, width).copy_from(image);
  for (std::int64_t x = width; x < out.size(1); ++x)
    out.select(1, x).slice(0, 0, height).copy_from(image.select(1, width - 1));
  for (std::int64_t y = height; y < out.size(0); ++y) out.select(0, y).copy_from(out.select(0, height - 1));
  return out;
}

class BackboneSource : public FeatureSource {
 public:
  // `weights`: how many numbers they are.
  BackboneSource(std::unique_ptr<PatchBackbone> backbone, double weights, FeatureParts parts,
                 const Normalisation& normalisation, const FeatureOptions& options, Device device)
      : backbone_(std::move(backbone)),
        weights_(weights),
        parts_(std::move(parts)),
        patch_(backbone_->parts_patch_px(parts_)),
        normalisation_(normalisation),
        options_(options),
        device_(device) {}

  PreparedPicture prepare(const InputImage&, const Tensor& image) const override {
    const Tensor normal = normalised(to_frame(options_, image, patch()), normalisation_);
    return {options_.framing == Framing::kPadded ? pad_with_zeros(normal, patch()) : normal};
  }
  std::string name() const { return backbone_->name(); }
  PatchMaps maps(const PreparedPicture& prepared) const override {
    const NoGrad no_grad;
    const PatchMaps maps = backbone_->maps(prepared.input.to(device_), parts_, options_.attention);
    return {maps.features.select(0, 0), options_.attention ? maps.attention.select(0, 0) : Tensor()};
  }
  bool takes_batches() const override { return !device_.is_cpu(); }
  BatchFeatures batch_features(std::int64_t batch, bool graph) const override {
    // Pictures of their own aspect ratio seldom meet another of their shape.
    if (options_.native_aspect || options_.framing != Framing::kFrame)
      return FeatureSource::batch_features(batch, graph);
    // All are of one shape, so one position embedding serves them.
    const std::function<Tensor(const Tensor&)> forward = [this, position = Tensor()](const Tensor& images) mutable {
      const NoGrad no_grad;
      if (!position.defined()) position = backbone_->position(images.size(2) / patch(), images.size(3) / patch());
      return backbone_->maps(images, parts_, false, position).features;
    };
    std::shared_ptr<GraphedFunction> graphed;
    if (graph && on_one_grid()) graphed = std::make_shared<GraphedFunction>(forward, device_);
    return [batch, forward, graphed, device = device_](const std::vector<const PreparedPicture*>& pictures) {
      const Tensor& first = pictures.front()->input;
      Tensor images = Tensor::empty({batch, first.size(1), first.size(2), first.size(3)});
      for (std::int64_t i = 0; i < batch; ++i)
        images.select(0, i).copy_from(
            pictures[std::min(static_cast<std::size_t>(i), pictures.size() - 1)]->input.select(0, 0));
      const Tensor features = graphed ? (*graphed)(images) : forward(images.to(device));
      std::vector<Tensor> each;
      for (std::size_t i = 0; i < pictures.size(); ++i)
        each.push_back(features.select(0, static_cast<std::int64_t>(i)));
      return each;
    };
  }
  bool has_class_token() const override { return backbone_->has_class_token(); }
  Tensor class_token(const Tensor& image, const io::Box& box, const CropOptions& options) const override {
    return crop_class_token(*backbone_, image, box, options, normalisation_, device_);
  }
  std::int64_t patch() const override { return patch_; }
  // As of a vision transformer: each token meets each weight once, and attention costs its share of that.
  PictureCost cost() const override {
    const auto side = static_cast<double>(options_.size > 0 ? options_.size : kUsualSide);
    const double tokens = side * side / static_cast<double>(patch_ * patch_);
    const double width = std::sqrt(weights_ / (12 * static_cast<double>(backbone_->layers())));
    PictureCost cost;
    cost.flops = 2 * weights_ * tokens * (1 + tokens / (6 * width));
    cost.bytes += 16 * 4 * tokens * width;
    return cost;
  }
  maskcut::UsualTau usual_tau() const override { return maskcut::usual_tau(*backbone_, parts_); }
  void describe(nlohmann::ordered_json& info) const override {
    info["features"] = name();
    if (!(normalisation_ == Normalisation{}))
      info["normalisation"] = {{"mean", normalisation_.mean}, {"deviation", normalisation_.deviation}};
  }

 private:
  // Else maps are enlarged, whose weights go from the host to the device: nothing that a graph can replay.
  bool on_one_grid() const {
    return std::all_of(parts_.begin(), parts_.end(),
                       [&](const FeaturePart& part) { return backbone_->layer_patch_px(part.layer) == patch_; });
  }

  std::unique_ptr<PatchBackbone> backbone_;
  double weights_;
  FeatureParts parts_;
  std::int64_t patch_;
  Normalisation normalisation_;
  FeatureOptions options_;
  Device device_;
};

class ClassicalSource : public FeatureSource {
 public:
  ClassicalSource(const ClassicalKind& kind, const FeatureOptions& options) : kind_(kind), options_(options) {}

  PreparedPicture prepare(const InputImage&, const Tensor& image) const override { return {image}; }
  PatchMaps maps(const PreparedPicture& prepared) const override {
    const Tensor& image = prepared.input;
    if (options_.framing == Framing::kPadded) {
      const Tensor padded = pad_with_border(image, patch());
      return {kind_.features(padded, {padded.size(0), padded.size(1)}, patch()), {}};
    }
    const Size frame =
        options_.framing == Framing::kFrame
            ? maskcut::working_size(image.size(0), image.size(1), options_.size, patch(), options_.native_aspect)
            : frame_pixels(options_, size_of(image), patch());
    return {kind_.features(image, frame, patch()), {}};
  }
  std::int64_t patch() const override { return options_.patch; }
  // The features are made for it (maskcut/colour_features.h, contrast_features.h).
  maskcut::UsualTau usual_tau() const override { return {.source = "made for it"}; }
  void describe(nlohmann::ordered_json& info) const override { info["features"] = kind_.description; }

 private:
  const ClassicalKind& kind_;
  FeatureOptions options_;
};

class FileSource : public FeatureSource {
 public:
  explicit FileSource(const FeatureOptions& options)
      : folder_(options.from_features), patch_(options.patch), attention_(options.attention) {
    check(fs::is_directory(folder_), ErrorKind::kUsage, "from-features {}: no such folder", folder_.string());
    if (const fs::path list = list_of_files(); !list.empty()) made_ = read_info(list);
    if (!made_.is_object() || !made_.contains(kPatchKey)) return;
    patch_ = made_[kPatchKey].get<std::int64_t>();
    check(options.patch == patch_ || options.patch == FeatureOptions{}.patch, ErrorKind::kUsage,
          "patch {}: the files of from-features {} were made with patches of {} pixels", options.patch,
          folder_.string(), patch_);
  }

  PreparedPicture prepare(const InputImage& input, const Tensor&) const override {
    const fs::path safetensors = output_path(folder_, input.file_name, ".safetensors");
    const fs::path npy = output_path(folder_, input.file_name, ".npy");
    if (fs::exists(safetensors)) {
      const auto tensors = io::load_safetensors(safetensors);
      return {get(tensors, "features", safetensors), attention_ ? get(tensors, "attention", safetensors) : Tensor()};
    }
    check(fs::exists(npy), ErrorKind::kIo, "no features for {}: neither {} nor {} exists", input.file_name,
          safetensors.string(), npy.string());
    check(!attention_, ErrorKind::kUsage,
          "{}: attention is needed too, which only .safetensors files hold (usol features writes it on request)",
          npy.string());
    return {checked(io::load_npy(npy), "features", npy)};
  }
  PatchMaps maps(const PreparedPicture& prepared) const override { return {prepared.input, prepared.attention}; }
  std::int64_t patch() const override { return patch_; }
  maskcut::UsualTau usual_tau() const override { return {.source = "the same for all files"}; }
  void describe(nlohmann::ordered_json& info) const override {
    info["features"] = "read from files";
    if (!made_.is_null()) info["features_info"] = made_;
  }

 private:
  static Tensor get(const std::map<std::string, Tensor>& tensors, const std::string& name, const fs::path& path) {
    const auto found = tensors.find(name);
    check(found != tensors.end(), ErrorKind::kFormat, "{}: holds no tensor '{}'{}", path.string(), name,
          name == "attention" ? " (usol features writes it on request)" : "");
    return checked(found->second, name, path);
  }
  static Tensor checked(const Tensor& map, const std::string& name, const fs::path& path) {
    check(map.rank() == 3 && is_floating(map.dtype()) && map.numel() > 0, ErrorKind::kFormat,
          "{}: expected floating {} [{}, h, w], got {} {}", path.string(), name, name == "features" ? "D" : "heads",
          map.dtype(), map.shape());
    return map.to(DType::kF32).contiguous();
  }

  // What `usol features` has written beside them, of all or of a shard; empty if another program made them.
  fs::path list_of_files() const {
    if (fs::exists(folder_ / "features.json")) return folder_ / "features.json";
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("features.") && name.ends_with(".json")) return entry.path();
    }
    return {};
  }

  fs::path folder_;
  nlohmann::ordered_json made_;  // how the files were made, if `usol features` made them
  std::int64_t patch_;
  bool attention_;
};

// "k,out" or "k+out", of every layer.
FeatureParts parts_of(const std::string& kinds, const std::vector<std::int64_t>& layers) {
  FeatureParts parts;
  for (std::size_t start = 0; start <= kinds.size();) {
    const std::size_t end = std::min(kinds.find_first_of(",+", start), kinds.size());
    for (const std::int64_t layer : layers)
      parts.push_back({parse_feature_kind(kinds.substr(start, end - start)), layer});
    start = end + 1;
  }
  return parts;
}

}  // namespace

BatchFeatures FeatureSource::batch_features(std::int64_t, bool) const {
  return [this](const std::vector<const PreparedPicture*>& pictures) {
    std::vector<Tensor> each;
    for (const PreparedPicture* picture : pictures) each.push_back(features(*picture));
    return each;
  };
}

Tensor FeatureSource::class_token(const Tensor&, const io::Box&, const CropOptions&) const {
  fail(ErrorKind::kUsage,
       "these features have no class token: give a vision transformer's weights (scripts/download-weights fetches "
       "them)");
}

Size FeatureOptions::picture_size(const Size& picture) const { return frame_pixels(*this, picture, patch); }

bool FeatureOptions::keeps_sizes() const { return framing == Framing::kPadded || framing == Framing::kNearest; }

void FeatureOptions::declare(Settings& settings, bool files, const std::string& size_help, double least_size) {
  settings.group("Features");
  settings.add("weights FILE", weights,
               "DINO, DINOv2 or DINOv3 weights: a file (.pth, .bin, .safetensors), an index of several (.json), or a "
               "hub's folder; scripts/download-weights fetches DINO's and DINOv2's. Of a detector its backbone",
               OptionKind::kRun);
  settings.add(
      "entry NAME", entry,
      "Take this entry of the weights' dict (\"student\", \"a/b\") or names behind a prefix (\"model/teacher.\", a "
      "dot at its end) instead of looking");
  settings.choice("backbone", backbone, {"dino", "contrast", "colour"},
                  "dino: the network that the weights are. Without weights, by classical means: contrast with the "
                  "picture's border, or the plain normalized cut on colour, texture and position");
  settings.add("features KIND,...", kind,
               "What of a layer is the feature: k, q, v or kqv of a vision transformer's block, or out, the tokens it "
               "puts out, normalised; of a convolutional network out, a stage's map. Several (k,out or k+out) are "
               "concatenated, each at unit length. Without it k, where there are keys (docs/features.md)");
  settings.add(
      "layer N,...", layers,
      "Of which blocks or stages: counted from 0, or from the last one back (-1); of several, each kind of each");
  declare_normalisation(settings, normalisation);
  if (files) {
    settings.add("from-features DIR", from_features,
                 "Take features from files: <name without extension>.safetensors (tensor 'features' [D, h, w]) or .npy",
                 OptionKind::kRun);
  }
  settings.add("size PX", size, size_help).between(least_size, 16384);
  settings
      .add("patch PX", patch,
           "Patch of features that come neither from weights nor from files of usol features, which know their own")
      .between(1, 1024);
  settings.flag("native-aspect", native_aspect, "Keep each picture's aspect ratio, at about size x size pixels");
}

std::unique_ptr<FeatureSource> FeatureOptions::open(const Run& run) {
  const ClassicalKind* const classical = find_classical(backbone);
  check(entry.empty() || !weights.empty(), ErrorKind::kUsage, "entry {}: is for weights", entry);
  check(weights.empty() || from_features.empty(), ErrorKind::kUsage,
        "weights and from-features are two sources of features; give one");
  check(classical == nullptr || (weights.empty() && from_features.empty()), ErrorKind::kUsage,
        "backbone {} makes its own features; leave out weights and from-features", backbone);
  if (!kind.empty()) parts_of(kind, layers);
  check(
      !weights.empty() || !from_features.empty() || classical != nullptr, ErrorKind::kUsage,
      "no features to cut: give weights (DINO's; scripts/download-weights fetches them), or backbone contrast (the "
      "best that needs no weights) or backbone colour (the plain normalized cut), or from-features, a folder of them");
  if (kind.empty() && weights.empty()) kind = name_of(FeatureKind::kK);
  if (!from_features.empty()) {
    backbone = "files";
    whole_patches = false;
    auto source = std::make_unique<FileSource>(*this);
    patch = source->patch();
    return source;
  }
  if (classical != nullptr) {
    check(!attention, ErrorKind::kUsage,
          "backbone {} has no attention: give weights (DINO's; scripts/download-weights fetches them)", backbone);
    return std::make_unique<ClassicalSource>(*classical, *this);
  }
  backbone = "dino";
  check(fs::exists(weights), ErrorKind::kUsage, "weights {}: no such file", weights);
  weights_sha256_ = std::async(std::launch::async, [path = weights] { return io::checkpoint_sha256(path); });
  const Device device = run.device;
  const DType dtype = run.precision;
  io::Checkpoint checkpoint = io::load_checkpoint(weights, {.entry = entry, .resnet_as_detectron2 = true});
  for (const auto& text : checkpoint.applied) run.detail("{}: {}", weights, text);
  if (auto inside = backbone_of_detector(checkpoint.tensors)) {
    run.note("{}: a detector, of which the backbone is taken", weights);
    checkpoint.tensors = std::move(*inside);
  }
  double weights_count = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) weights_count += static_cast<double>(tensor.numel());
  auto network = load_patch_backbone(std::move(checkpoint.tensors), weights, device, dtype);
  const auto chosen = choose_normalisation(normalisation, *network, weights, checkpoint.metadata);
  check(!attention || network->has_attention(), ErrorKind::kUsage,
        "{}: {} has no attention: give a vision transformer's weights (scripts/download-weights fetches them)", weights,
        network->name());
  if (kind.empty()) kind = name_of(network->usual_kind());
  FeatureParts parts = network->resolved(parts_of(kind, layers));
  whole_patches = !network->takes_any_size();
  auto source = std::make_unique<BackboneSource>(std::move(network), weights_count, std::move(parts), chosen.values,
                                                 *this, device);
  patch = source->patch();
  run.note("{}: {} on {}", weights, source->name(), to_string(device));
  if (!(chosen.values == Normalisation{}))
    run.note("colours are normalised by mean {} and deviation {}, {}", fmt::join(chosen.values.mean, " "),
             fmt::join(chosen.values.deviation, " "), chosen.reason);
  return source;
}

void FeatureSource::record_patch(nlohmann::ordered_json& info) const { info[kPatchKey] = patch(); }

void FeatureOptions::record_weights(nlohmann::ordered_json& info) const {
  if (weights_sha256_.valid()) info["weights_sha256"] = weights_sha256();
}

void FeatureOptions::record(nlohmann::ordered_json& info) const {
  const auto settings = info.find("settings");
  if (settings != info.end() && settings->contains("features")) (*settings)["features"] = kind;
}

}  // namespace usol
