#include "usol/models/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "usol/models/rcnn/rcnn.h"
#include "usol/models/vit.h"
#include "usol/tensor/error.h"
#include "usol/tensor/format.h"
#include "usol/tensor/shape.h"

namespace usol {
namespace {

using Tensors = std::map<std::string, Tensor>;
using Expected = std::map<std::string, Shape>;

constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;

const Tensor* find(const Tensors& tensors, const std::string& name, int rank) {
  const auto found = tensors.find(name);
  return found != tensors.end() && found->second.rank() == rank ? &found->second : nullptr;
}

bool any_begins_with(const Tensors& tensors, const std::string& prefix) {
  const auto first = tensors.lower_bound(prefix);
  return first != tensors.end() && first->first.starts_with(prefix);
}

/// How many of prefix + "0.", prefix + "1." ... there are, without gaps.
std::int64_t count_numbered(const Tensors& tensors, const std::string& prefix) {
  std::int64_t count = 0;
  while (any_begins_with(tensors, fmt::format("{}{}.", prefix, count))) ++count;
  return count;
}

void compare(const Tensors& tensors, const Expected& expected, Description& out) {
  for (const auto& [name, shape] : expected) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      out.missing.push_back(fmt::format("{} {}", name, shape));
    } else if (!(found->second.shape() == shape)) {
      out.mismatched.push_back(fmt::format("{}: expected {}, got {}", name, shape, found->second.shape()));
    }
  }
  for (const auto& item : tensors) {
    if (!expected.contains(item.first)) out.unexpected.push_back(item.first);
  }
}

// ---- Vision Transformers ----

// The names and shapes that models/vit.cc asks for. Listed here because asking it would allocate and convert weights.
Expected vit_parameters(const VitConfig& c) {
  Expected e;
  const std::int64_t d = c.width, hidden = c.mlp_hidden;
  const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    e[name + ".weight"] = {out, in};
    e[name + ".bias"] = {out};
  };
  const auto norm = [&](const std::string& name) { e[name + ".weight"] = e[name + ".bias"] = {d}; };
  e["cls_token"] = {1, 1, d};
  e["pos_embed"] = {1, c.grid * c.grid + 1, d};
  e["patch_embed.proj.weight"] = {d, 3, c.patch, c.patch};
  e["patch_embed.proj.bias"] = {d};
  if (c.registers > 0) e["register_tokens"] = {1, c.registers, d};
  if (c.mask_token) e["mask_token"] = {1, d};
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const std::string block = fmt::format("blocks.{}.", i);
    norm(block + "norm1");
    norm(block + "norm2");
    linear(block + "attn.qkv", 3 * d, d);
    linear(block + "attn.proj", d, d);
    linear(block + (c.swiglu ? "mlp.w12" : "mlp.fc1"), c.swiglu ? 2 * hidden : hidden, d);
    linear(block + (c.swiglu ? "mlp.w3" : "mlp.fc2"), d, hidden);
    if (c.layer_scale) e[block + "ls1.gamma"] = e[block + "ls2.gamma"] = {d};
  }
  norm("norm");
  return e;
}

std::optional<Description> describe_vit(const Tensors& tensors) {
  const auto config = vit_config(tensors);
  // Empty tensors may claim any size; beyond these nothing is a model, and products stay far from overflow.
  if (!config || std::max({config->width, config->patch, config->mlp_hidden}) >= kMaxWidth) return std::nullopt;
  const VitConfig& c = *config;
  Description out;
  out.architecture = c.name();
  out.facts = {{"width", std::to_string(c.width)},
               {"depth", std::to_string(c.depth)},
               {"heads", std::to_string(c.heads())},
               {"patch", std::to_string(c.patch)},
               {"grid", fmt::format("{0} x {0} ({1} px)", c.grid, c.grid * c.patch)},
               {"MLP", fmt::format("{}, {} hidden", c.swiglu ? "SwiGLU" : "GELU", c.mlp_hidden)},
               {"family", c.layer_scale ? "DINOv2 (layer scale)" : "DINO (no layer scale)"}};
  if (c.registers > 0) out.facts.emplace_back("registers", std::to_string(c.registers));
  compare(tensors, vit_parameters(c), out);
  return out;
}

// ---- ResNets ----

struct ResnetNames {
  std::string stem, stem_norm, stage, norm_prefix, shortcut, shortcut_norm;
  int first_stage;
  std::string described;
};
constexpr const char* kBottomUp = "backbone.bottom_up.";  // where a detector has its ResNet
const ResnetNames kTorchvision = {"conv1", "bn1", "layer", "bn", "downsample.0", "downsample.1", 1, "torchvision"};
const ResnetNames kDetectron2 = {"stem.conv1", "stem.conv1.norm", "res", "",
                                 "shortcut",   "shortcut.norm",   2,     "Detectron2"};

Expected resnet_parameters(const ResnetNames& names, const std::array<std::int64_t, 4>& blocks, std::int64_t width) {
  Expected e;
  const auto conv_norm = [&](const std::string& conv, const std::string& norm, Shape weight) {
    e[conv + ".weight"] = weight;
    for (const std::string_view part : {".weight", ".bias", ".running_mean", ".running_var"}) {
      e[norm + std::string(part)] = {weight[0]};
    }
  };
  conv_norm(names.stem, names.stem_norm, {width, 3, 7, 7});
  std::int64_t in = width;
  for (std::size_t s = 0; s < blocks.size(); ++s) {
    const std::int64_t middle = width << s, out = 4 * middle;
    for (std::int64_t b = 0; b < blocks[s]; ++b) {
      const std::string block = fmt::format("{}{}.{}.", names.stage, names.first_stage + static_cast<int>(s), b);
      const std::array<Shape, 3> weights = {Shape{middle, in, 1, 1}, Shape{middle, middle, 3, 3},
                                            Shape{out, middle, 1, 1}};
      for (int c = 1; c <= 3; ++c) {
        const std::string conv = fmt::format("{}conv{}", block, c);
        const std::string norm =
            names.norm_prefix.empty() ? conv + ".norm" : fmt::format("{}{}{}", block, names.norm_prefix, c);
        conv_norm(conv, norm, weights[static_cast<std::size_t>(c - 1)]);
      }
      if (b == 0) conv_norm(block + names.shortcut, block + names.shortcut_norm, {out, in, 1, 1});
      in = out;
    }
  }
  return e;
}

std::optional<std::array<std::int64_t, 4>> resnet_blocks(const Tensors& tensors, const ResnetNames& names,
                                                         const std::string& prefix = "") {
  std::array<std::int64_t, 4> blocks{};
  for (int s = 0; s < 4; ++s) {
    blocks[static_cast<std::size_t>(s)] =
        count_numbered(tensors, fmt::format("{}{}{}.", prefix, names.stage, names.first_stage + s));
    if (blocks[static_cast<std::size_t>(s)] == 0) return std::nullopt;
  }
  return blocks;
}

std::string resnet_name(const std::array<std::int64_t, 4>& blocks) {
  if (blocks == std::array<std::int64_t, 4>{3, 4, 6, 3}) return "ResNet-50";
  if (blocks == std::array<std::int64_t, 4>{3, 4, 23, 3}) return "ResNet-101";
  return fmt::format("ResNet with {} bottlenecks", fmt::join(blocks, "-"));
}

std::optional<Description> describe_resnet(const Tensors& tensors) {
  // Detectron2's also as part of a detector.
  const std::pair<const ResnetNames*, const char*> layouts[] = {
      {&kTorchvision, ""}, {&kDetectron2, ""}, {&kDetectron2, kBottomUp}};
  for (const auto& [names, prefix] : layouts) {
    const Tensor* stem = find(tensors, prefix + names->stem + ".weight", 4);
    const auto blocks = resnet_blocks(tensors, *names, prefix);
    if (stem == nullptr || stem->size(0) >= kMaxWidth || !blocks ||
        !any_begins_with(tensors, fmt::format("{}{}{}.0.conv3.", prefix, names->stage, names->first_stage)))
      continue;
    Description out;
    out.architecture = resnet_name(*blocks);
    out.facts = {{"blocks", fmt::format("{}", fmt::join(*blocks, "-"))},
                 {"stem width", std::to_string(stem->size(0))},
                 {"names", names->described + "'s" + (*prefix == 0 ? "" : fmt::format(", behind '{}'", prefix))}};
    Expected expected;
    for (const auto& [name, shape] : resnet_parameters(*names, *blocks, stem->size(0))) expected[prefix + name] = shape;
    compare(tensors, expected, out);
    std::erase_if(out.unexpected, [](const std::string& name) { return name.ends_with(".num_batches_tracked"); });
    return out;
  }
  return std::nullopt;
}

// ---- Detectron2 detectors ----

// The names and shapes of models/rcnn for the sizes that some of the tensors have; nothing if one of those is missing,
// or if the backbone is no ResNet.
std::optional<Expected> detector_parameters(const Tensors& tensors) {
  const bool cascade = any_begins_with(tensors, "roi_heads.box_predictor.0.");
  const std::string first = cascade ? ".0" : "", mask = "roi_heads.mask_head.";
  const auto blocks = resnet_blocks(tensors, kDetectron2, kBottomUp);
  const Tensor* stem = find(tensors, std::string(kBottomUp) + "stem.conv1.weight", 4);
  const Tensor* pyramid = find(tensors, "backbone.fpn_output2.weight", 4);
  const Tensor* hidden = find(tensors, "roi_heads.box_head" + first + ".fc2.weight", 2);
  const Tensor* scores = find(tensors, "roi_heads.box_predictor" + first + ".cls_score.weight", 2);
  const Tensor* boxes = find(tensors, "roi_heads.box_predictor" + first + ".bbox_pred.weight", 2);
  const Tensor* middle = find(tensors, std::string(kBottomUp) + "res2.0.conv2.weight", 4);
  if (!blocks || !stem || !middle || !pyramid || !hidden || !scores || !boxes) return std::nullopt;
  const std::int64_t c = pyramid->size(0), width = stem->size(0), fc = hidden->size(0), classes = scores->size(0) - 1;
  if (middle->size(0) != width || middle->size(1) != width) return std::nullopt;  // groups, or another width
  if (std::max({c, width, fc, classes, boxes->size(0)}) >= kMaxWidth) return std::nullopt;
  Expected e;
  const auto layer = [&](const std::string& name, const Shape& weight, std::int64_t out) {
    e[name + ".weight"] = weight;
    e[name + ".bias"] = {out};
  };
  for (const auto& [name, shape] : resnet_parameters(kDetectron2, *blocks, width)) e[kBottomUp + name] = shape;
  const bool norm = any_begins_with(tensors, "backbone.fpn_output2.norm.");
  for (int level = 2; level <= 5; ++level) {
    const std::int64_t below = width << level;
    for (const auto& [name, shape] : {std::pair{fmt::format("backbone.fpn_lateral{}", level), Shape{c, below, 1, 1}},
                                      std::pair{fmt::format("backbone.fpn_output{}", level), Shape{c, c, 3, 3}}}) {
      if (!norm) {
        layer(name, shape, c);
        continue;
      }
      e[name + ".weight"] = shape;
      for (const char* part : {".norm.weight", ".norm.bias", ".norm.running_mean", ".norm.running_var"})
        e[name + part] = {c};
    }
  }
  layer("proposal_generator.rpn_head.conv", {c, c, 3, 3}, c);
  layer("proposal_generator.rpn_head.objectness_logits", {3, c, 1, 1}, 3);
  layer("proposal_generator.rpn_head.anchor_deltas", {12, c, 1, 1}, 12);
  for (int k = 0; k < (cascade ? 3 : 1); ++k) {
    const std::string stage = cascade ? fmt::format(".{}", k) : "";
    layer("roi_heads.box_head" + stage + ".fc1", {fc, c * 49}, fc);
    layer("roi_heads.box_head" + stage + ".fc2", {fc, fc}, fc);
    layer("roi_heads.box_predictor" + stage + ".cls_score", {classes + 1, fc}, classes + 1);
    layer("roi_heads.box_predictor" + stage + ".bbox_pred", {boxes->size(0), fc}, boxes->size(0));
  }
  if (any_begins_with(tensors, mask)) {
    for (int i = 1; i <= 4; ++i) layer(fmt::format("{}mask_fcn{}", mask, i), {c, c, 3, 3}, c);
    layer(mask + "deconv", {c, c, 2, 2}, c);
    layer(mask + "predictor", {classes, c, 1, 1}, classes);
  }
  return e;
}

// The same of a detector on ViTDet, asked of the model itself, which takes the file's own tensors. Nothing if its sizes
// cannot be read, or if the tensors that they are read from claim a model far beyond what the file holds.
std::optional<Expected> vitdet_parameters(const Tensors& tensors) {
  const auto config = rcnn_config(tensors);
  if (!config || !config->vitdet) return std::nullopt;
  const auto number = [](std::int64_t n) { return static_cast<double>(n); };
  const VitDetConfig& v = *config->vitdet;
  const rcnn::BoxHeadConfig& box = config->heads.box;
  double held = 0;
  for (const auto& [name, tensor] : tensors) held += number(tensor.numel());
  const double claimed = number(v.depth) * number(v.width) * (4 * number(v.width) + 2 * number(v.mlp_hidden)) +
                         49 * number(box.channels) * number(box.hidden);
  if (claimed > 2 * held) return std::nullopt;
  try {
    ParamStore store(tensors, {}, DType::kF32);
    const Rcnn model(Scope(store), *config);
    Expected e;
    for (const auto& [name, entry] : store.entries()) e[name] = entry.tensor.shape();
    return e;
  } catch (const Error&) {  // sizes that fit no model
    return std::nullopt;
  }
}

// Detectron2 also stores what no parameter is.
void compare_detector(const Tensors& tensors, const Expected& expected, Description& out) {
  compare(tensors, expected, out);
  std::erase_if(out.unexpected, [](const std::string& name) {
    return name == "pixel_mean" || name == "pixel_std" || name.ends_with(".num_batches_tracked") ||
           name.starts_with("proposal_generator.anchor_generator.");
  });
}

std::optional<Description> describe_detector(const Tensors& tensors) {
  if (!any_begins_with(tensors, "backbone.") || !any_begins_with(tensors, "roi_heads.")) return std::nullopt;
  Description out;
  const std::int64_t stages = count_numbered(tensors, "roi_heads.box_predictor.");
  const bool masks = any_begins_with(tensors, "roi_heads.mask_head.");
  out.architecture = fmt::format("{}{} R-CNN", stages > 0 ? "Cascade " : "", masks ? "Mask" : "Faster");
  if (stages > 0) out.facts.emplace_back("cascade stages", std::to_string(stages));
  std::string backbone = "unknown";
  if (const auto blocks = resnet_blocks(tensors, kDetectron2, kBottomUp)) backbone = resnet_name(*blocks);
  if (any_begins_with(tensors, "backbone.net.blocks.")) {
    backbone = fmt::format("ViT with {} blocks", count_numbered(tensors, "backbone.net.blocks."));
    if (const auto v = vitdet_config(tensors, "backbone."))
      out.facts.emplace_back(
          "ViT", fmt::format("width {}, {} heads, patch {}, windows of {} x {} patches, pictures of {} px", v->width,
                             v->heads, v->patch, v->window, v->window, v->image_px));
  }
  if (any_begins_with(tensors, "backbone.fpn_lateral2.")) {
    backbone += any_begins_with(tensors, "backbone.fpn_lateral2.norm.") ? ", FPN with norm" : ", FPN";
  } else if (any_begins_with(tensors, "backbone.simfp_")) {
    backbone += ", simple feature pyramid";
  }
  out.facts.emplace_back("backbone", backbone);
  const std::string predictor = stages > 0 ? "roi_heads.box_predictor.0." : "roi_heads.box_predictor.";
  if (const Tensor* scores = find(tensors, predictor + "cls_score.weight", 2)) {
    out.facts.emplace_back("classes", std::to_string(scores->size(0) - 1));
  }
  if (const Tensor* boxes = find(tensors, predictor + "bbox_pred.weight", 2)) {
    out.facts.emplace_back("boxes", boxes->size(0) == 4 ? "class-agnostic" : "one per class");
  }
  auto expected = detector_parameters(tensors);
  if (!expected) expected = vitdet_parameters(tensors);
  if (expected) compare_detector(tensors, *expected, out);
  return out;
}

}  // namespace

Description describe_weights(const Tensors& tensors) {
  if (auto vit = describe_vit(tensors)) return *vit;
  if (auto detector = describe_detector(tensors)) return *detector;
  if (auto resnet = describe_resnet(tensors)) return *resnet;
  return {};
}

}  // namespace usol
