#include "usol/models/rcnn/rcnn.h"

#include <algorithm>
#include <string>

#include "usol/autograd/grad_mode.h"
#include "usol/models/image_batch.h"
#include "usol/models/rcnn/describe.h"
#include "usol/models/rcnn/settings.h"
#include "usol/models/resnet_c4.h"
#include "usol/models/vitdet.h"
#include "usol/ops/gather.h"
#include "usol/ops/rank_values.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

// p2 ... p5: the region heads do not use p6. C4's one map serves both.
std::vector<Tensor> for_heads(const std::vector<Tensor>& features) {
  return features.size() == 1 ? features : std::vector<Tensor>{features.begin(), features.end() - 1};
}

// As many rows of a picture's proposals, spread evenly.
Tensor spread(const Tensor& boxes, std::int64_t count) {
  const std::int64_t n = boxes.size(0);
  if (n <= count) return boxes;
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < count; ++i) rows.push_back(i * n / count);
  return index_select(boxes, Tensor::from(rows, {count}).to(boxes.device()));
}

// Reads numbers off a state dict's shapes.
class Shapes {
 public:
  explicit Shapes(const StateDict& state) : state_(&state) {}
  bool has(const std::string& name) const { return state_->contains(name); }
  /// Size of a dimension; 0 if there is no such tensor.
  std::int64_t size(const std::string& name, int dim) const {
    const auto found = state_->find(name);
    return found == state_->end() || found->second.rank() <= dim ? 0 : found->second.size(dim);
  }
  /// How many of prefix0suffix, prefix1suffix, ... there are, from `first` on.
  std::int64_t count(const std::string& prefix, const std::string& suffix, std::int64_t first = 0) const {
    std::int64_t n = 0;
    while (has(prefix + std::to_string(first + n) + suffix)) ++n;
    return n;
  }

 private:
  const StateDict* state_;
};

// Sizes beyond this are no model's: tensors without elements may claim any, and products must not overflow.
bool is_reasonable(const RcnnConfig& c) {
  constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
  std::vector<std::int64_t> widths{c.rpn.channels, c.heads.box.channels, c.heads.box.hidden, c.heads.box.classes};
  if (c.heads.mask) widths.insert(widths.end(), {c.heads.mask->hidden, c.heads.mask->classes});
  return std::all_of(widths.begin(), widths.end(), [](std::int64_t w) { return w >= 0 && w < kMaxWidth; });
}

// Old Detectron2 files also hold these.
bool leave_out(const std::string& name) {
  return name == "pixel_mean" || name == "pixel_std" || name.starts_with("proposal_generator.anchor_generator.");
}

MakeDetector recognise(const StateDict& state) {
  const auto config = rcnn_config(state);
  if (!config) return {};
  return rcnn_maker(*config);
}

constexpr const char* kRecognised =
    "a Faster, Mask or Cascade R-CNN on a ResNet with a feature pyramid, on ViTDet or on C4 (no backbone.bottom_up, "
    "backbone.net or backbone.res4, proposal_generator and roi_heads that fit together)";
std::unique_ptr<DetectorSettings> settings() { return std::make_unique<RcnnSettings>(); }

const Registry<DetectorKind>::Add kRcnn({"rcnn", kRecognised, recognise, leave_out, rcnn::describe, settings});

}  // namespace

RcnnConfig cutler_config(std::int64_t stages, std::int64_t classes) {
  RcnnConfig config;
  config.heads.stages = stages;
  config.heads.box.classes = classes;
  config.heads.mask->classes = classes;
  return config;
}

RcnnConfig vitdet_rcnn_config(std::int64_t stages, std::int64_t classes) {
  RcnnConfig config = cutler_config(stages, classes);
  config.backbone = vitdet_backbone({});
  config.rpn.convolutions = 2;
  config.rpn.nms = 0.7;
  config.rpn.post_nms_train = 1000;
  config.heads.box.convolutions = 4;
  config.heads.box.fully_connected = 1;
  config.heads.box.norm = config.heads.mask->norm = nn::NormKind::kLn;
  return config;
}

RcnnConfig c4_config(const ResNetConfig& resnet, bool norm_after, std::int64_t classes) {
  RcnnConfig config = cutler_config(1, classes);
  config.backbone = resnet_c4(resnet);
  config.rpn.channels = config.heads.box.channels = resnet.res2_channels << 2;  // of res4
  config.rpn.first_stride_px = config.heads.first_stride_px = 16;
  config.rpn.anchor_sizes = {1, 2, 4, 8, 16};
  config.rpn.nms = 0.7;
  config.rpn.pre_nms_train = 12000;
  config.rpn.pre_nms_test = 6000;
  config.rpn.post_nms_train = 2000;
  config.heads.mask.reset();
  config.heads.box.res5 = rcnn::Res5Config{resnet, norm_after};
  config.heads.box.pooled = 14;
  config.heads.box.class_agnostic = false;
  return config;
}

namespace {

// Sizes of a Faster R-CNN on C4.
std::optional<RcnnConfig> read_c4_config(const StateDict& state, const Shapes& shapes) {
  const std::string heads = "roi_heads.", scores = heads + "box_predictor.cls_score.weight";
  auto resnet = resnet_config(state, "backbone.", 4);
  if (!resnet || !shapes.has(scores) || !shapes.has(heads + "res5.0.conv1.weight")) return std::nullopt;
  resnet->blocks[3] = shapes.count(heads + "res5.", ".conv1.weight");
  RcnnConfig c = c4_config(*resnet, shapes.has(heads + "res5.norm.weight"), shapes.size(scores, 0) - 1);
  c.rpn.channels = shapes.size("proposal_generator.rpn_head.conv.weight", 0);
  c.heads.box.class_agnostic = shapes.size(heads + "box_predictor.bbox_pred.weight", 0) == 4;
  if (!is_reasonable(c)) return std::nullopt;
  return c;
}

}  // namespace

std::optional<RcnnConfig> rcnn_config(const StateDict& state) {
  const Shapes shapes(state);
  if (auto c4 = read_c4_config(state, shapes)) return c4;
  const std::string rpn = "proposal_generator.rpn_head.conv.";
  const std::string box = "roi_heads.box_predictor.", mask = "roi_heads.mask_head.";
  const bool cascade = shapes.has(box + "0.cls_score.weight");
  const std::string first_box = cascade ? box + "0." : box;
  const std::string first_head = std::string("roi_heads.box_head.") + (cascade ? "0." : "");
  const bool deep_rpn = shapes.has(rpn + "conv0.weight");
  if ((!shapes.has(rpn + "weight") && !deep_rpn) || !shapes.has(first_box + "cls_score.weight") ||
      !shapes.has(first_head + "fc1.weight"))
    return std::nullopt;
  // What no shape shows is as in the project whose heads have these layers: ViTDet's, or CutLER's.
  RcnnConfig c = deep_rpn ? vitdet_rcnn_config() : cutler_config();
  c.backbone = recognise_backbone(state, "backbone.");
  if (!c.backbone) return std::nullopt;
  const std::int64_t channels = shapes.size(rpn + (deep_rpn ? "conv0.weight" : "weight"), 1);
  c.rpn.convolutions = deep_rpn ? shapes.count(rpn + "conv", ".weight") : 1;
  c.rpn.channels = shapes.size(rpn + (deep_rpn ? "conv0.weight" : "weight"), 0);
  c.heads.stages = cascade ? shapes.count(box, ".cls_score.weight") : 1;
  if (c.heads.stages != 1 && c.heads.stages != 3) return std::nullopt;
  c.heads.box.channels = channels;
  c.heads.box.convolutions = shapes.count(first_head + "conv", ".weight", 1);
  // The shapes of "LN" and "GN" are the same; ViTDet's is the one that published files have.
  const auto norm_of = [&](const std::string& convolution) {
    return shapes.has(convolution + ".norm.weight") ? nn::NormKind::kLn : nn::NormKind::kNone;
  };
  c.heads.box.norm = norm_of(first_head + "conv1");
  c.heads.box.fully_connected = shapes.count(first_head + "fc", ".weight", 1);
  c.heads.box.hidden = shapes.size(first_head + "fc1.weight", 0);
  c.heads.box.classes = shapes.size(first_box + "cls_score.weight", 0) - 1;
  c.heads.box.class_agnostic = shapes.size(first_box + "bbox_pred.weight", 0) == 4;
  c.heads.mask.reset();
  if (shapes.has(mask + "predictor.weight"))
    c.heads.mask = rcnn::MaskHeadConfig{.channels = channels,
                                        .hidden = shapes.size(mask + "deconv.weight", 1),
                                        .convolutions = shapes.count(mask + "mask_fcn", ".weight", 1),
                                        .norm = norm_of(mask + "mask_fcn1"),
                                        .classes = shapes.size(mask + "predictor.weight", 0)};
  if (!is_reasonable(c)) return std::nullopt;
  return c;
}

Rcnn::Rcnn(const Scope& scope, const RcnnConfig& config, Device device, DType dtype)
    : config_(config),
      device_(device),
      dtype_(dtype),
      backbone_(config.backbone(scope / "backbone")),
      rpn_(std::make_shared<rcnn::Rpn>(scope / "proposal_generator", config.rpn)),
      heads_(std::make_shared<rcnn::RoiHeads>(scope / "roi_heads", config.heads)) {
  const std::vector<FeatureSpec>& maps = backbone_->outputs();
  const std::size_t expected = config.heads.box.res5 ? 1 : 5;
  check(maps.size() == expected && maps[0].stride_px == config.rpn.first_stride_px &&
            maps[0].stride_px == config.heads.first_stride_px && maps[0].channels == config.rpn.channels &&
            maps[0].channels == config.heads.box.channels &&
            (!config.heads.mask || maps[0].channels == config.heads.mask->channels),
        "rcnn: expected {} with the heads' channels ({} and {}), got {} maps of {} channels, stride {}",
        config.heads.box.res5 ? "C4's map" : "maps p2 ... p6", config.rpn.channels, config.heads.box.channels,
        maps.size(), maps[0].channels, maps[0].stride_px);
}

Rcnn Rcnn::from_state(StateDict state, std::string_view what, Device device, DType dtype) {
  const auto config = rcnn_config(state);
  check(config.has_value(), ErrorKind::kFormat, "{}: not {}; see what the file holds with 'usol info'", what,
        kRecognised);
  std::erase_if(state, [](const auto& entry) { return leave_out(entry.first); });
  ParamStore store(std::move(state), device, dtype);
  Rcnn model(Scope(store), *config, device, dtype);
  store.load_report().require_ok(what);
  return model;
}

MakeDetector rcnn_maker(const RcnnConfig& config) {
  return [config](const Scope& scope, Device device, DType dtype) {
    return std::make_unique<Rcnn>(scope, config, device, dtype);
  };
}

detection::Info Rcnn::info() const {
  detection::Info info;
  info.classes = config_.heads.box.classes;
  info.masks = config_.heads.mask.has_value();
  info.name = std::string(config_.heads.stages > 1 ? "Cascade "
                          : info.masks             ? ""
                                                   : "Faster ") +
              (info.masks ? "Mask R-CNN" : "R-CNN");
  info.step_px = backbone_->size_divisibility_px();
  if (!backbone_->name().empty()) info.name += " on " + backbone_->name();
  if (const std::int64_t square = backbone_->square_px(); square > 0) info.short_px = info.long_px = square;
  return info;
}

Tensor Rcnn::preprocess(const std::vector<Tensor>& pictures, Communicator* ranks) const {
  return image_batch("rcnn", pictures, backbone_->size_divisibility_px(), backbone_->square_px(), ranks);
}

std::vector<Tensor> Rcnn::features(const Tensor& images, const Context& context) const {
  return backbone_->forward(images, context);
}

// A rank whose predictions are not finite says so to the others, so that none waits for it: all throw Diverged.
std::vector<rcnn::Proposals> Rcnn::training_proposals(const std::vector<Tensor>& anchors,
                                                      const rcnn::Rpn::Output& output, const std::vector<Size>& sizes,
                                                      Communicator* ranks) const {
  std::vector<rcnn::Proposals> proposals;
  std::string diverged;
  try {
    proposals = rpn_->proposals(anchors, output, sizes, true);
  } catch (const rcnn::Diverged& error) {
    diverged = error.what();
  }
  if (max_over_ranks(diverged.empty() ? 0 : 1, ranks) > 0)
    throw rcnn::Diverged(ErrorKind::kInvalidArgument,
                         diverged.empty() ? "rpn: training has diverged in another process" : diverged);
  return proposals;
}

rcnn::Losses Rcnn::losses(const std::vector<Tensor>& pictures, const std::vector<rcnn::Truths>& truths,
                          const rcnn::Sampler& sampler, const Context& context) const {
  check(pictures.size() == truths.size(), "rcnn: {} pictures, truths of {}", pictures.size(), truths.size());
  const std::vector<Size> sizes = sizes_of(pictures);
  const Tensor images = to_model(preprocess(pictures, context.ranks));
  const std::vector<Tensor> maps = features(images.to(context.dtype.value_or(images.dtype())), context);
  const rcnn::Rpn::Output output = rpn_->predict(maps, context);
  const std::vector<Tensor> anchors = rpn_->anchors(maps);
  const rcnn::RpnLosses of_rpn = rpn_->losses(anchors, output, truths, sampler, context);
  const std::vector<rcnn::Proposals> proposals = training_proposals(anchors, output, sizes, context.ranks);
  rcnn::Losses losses = heads_->losses(for_heads(maps), proposals, sizes, truths, sampler, context);
  losses["loss_rpn_cls"] = of_rpn.cls;
  losses["loss_rpn_loc"] = of_rpn.loc;
  return losses;
}

rcnn::Losses Rcnn::losses(const std::vector<Tensor>& pictures, const std::vector<rcnn::Truths>& truths,
                          const detection::Draws& draws, const Context& context) const {
  return losses(pictures, truths, rcnn::random_sampler(draws.generator, draws.first_picture), context);
}

void Rcnn::run_norms(const std::vector<Tensor>& pictures, const Context& context) const {
  const NoGrad no_grad;
  const std::vector<Tensor> maps = features(preprocess(pictures, context.ranks).to(device_), context);
  if (!config_.heads.box.res5) return;
  const auto proposals =
      training_proposals(rpn_->anchors(maps), rpn_->predict(maps, context), sizes_of(pictures), context.ranks);
  std::vector<Tensor> regions;
  for (const rcnn::Proposals& of_picture : proposals)
    regions.push_back(spread(of_picture.boxes, config_.heads.samples));
  heads_->run_stage(for_heads(maps), regions, 0, context);
}

detection::Seen Rcnn::see(const std::vector<Tensor>& pictures, const rcnn::DetectOptions& options) const {
  const NoGrad no_grad;
  const Context context;
  const std::vector<Size> sizes = sizes_of(pictures);
  const std::vector<Tensor> maps = features(to_model(preprocess(pictures)), context);
  const auto proposals = rpn_->proposals(rpn_->anchors(maps), rpn_->predict(maps, context), sizes, false);
  return {for_heads(maps), heads_->detect_boxes(for_heads(maps), proposals, sizes, options)};
}

void Rcnn::add_masks(detection::Seen& seen) const { heads_->add_masks(seen.maps, seen.found); }

Tensor Rcnn::to_model(const Tensor& images) const { return images.to(dtype_).to(device_); }

}  // namespace usol
