#pragma once
// The public code's runs of SOLOv2, FreeSOLO (tests/golden/make_solov2.py) and of SOLOv2 with BoxInst's losses
// (make_boxinst.py), and networks of the same sizes.

#include <map>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/models/resnet.h"
#include "usol/models/solov2/solov2.h"
#include "usol/nn/param_store.h"

namespace usol::test {

inline const std::map<std::string, Tensor>& golden_solov2() {
  static const std::map<std::string, Tensor> all = load_golden("solov2.safetensors");
  return all;
}

inline const Tensor& solov2_at(const std::string& name) { return golden_solov2().at(name); }

inline const std::map<std::string, Tensor>& golden_boxinst() {
  static const std::map<std::string, Tensor> all = load_golden("boxinst.safetensors");
  return all;
}

/// The scripts' sizes. `run`: "solov2" (three classes), "freesolo" or "boxinst" (three classes).
inline solov2::Config golden_solov2_config(const std::string& run) {
  solov2::Config c;
  ResNetConfig resnet{.blocks = {1, 1, 1, 1}, .stem_channels = 4, .res2_channels = 8, .width_per_group = 2};
  resnet.norm = nn::NormKind::kFrozenBn;
  c.backbone = resnet_fpn(resnet, {.channels = 8, .norm = nn::NormKind::kNone});
  c.channels = 8;
  c.instance_channels = 12;
  c.instance_convolutions = 2;
  c.mask_channels = 4;
  c.kernel_channels = 8;
  c.norm_groups = 4;
  c.levels = {{{8, 1, 24, 8}, {6, 12, 48, 8}, {5, 24, 96, 16}, {4, 48, 192, 32}, {3, 96, 512, 32}}};
  c.finding.most_before = 30;
  c.stores_pixels = false;
  c.classes = 3;
  if (run == "freesolo") {
    c.classes = 1;
    c.spare_outputs = 1;
    c.embedding = 6;
    c.losses.kind = solov2::LossKind::kFreeSolo;
  }
  if (run == "boxinst") {
    c.losses.kind = solov2::LossKind::kBoxInst;
    c.losses.pairwise_warmup = 10000;
  }
  return c;
}

/// A network with the run's weights; BoxInst's run has SOLOv2's.
struct GoldenSolov2 {
  explicit GoldenSolov2(const std::string& run, const solov2::Config& config) : model(Scope(store), config) {
    StateDict weights;
    const std::string prefix = (run == "boxinst" ? "solov2" : run) + "/weights/";
    for (const auto& [name, tensor] : golden_solov2())
      if (name.starts_with(prefix)) weights[name.substr(prefix.size())] = tensor;
    store.load(weights).require_ok(run);
  }
  explicit GoldenSolov2(const std::string& run) : GoldenSolov2(run, golden_solov2_config(run)) {}

  ParamStore store{0};
  solov2::Solov2 model;
};

inline std::vector<Tensor> solov2_pictures() { return {solov2_at("picture_0"), solov2_at("picture_1")}; }

/// The truths of both pictures; FreeSOLO's have one class, embeddings, and know the heights of their files; BoxInst's
/// are boxes alone, and know the heights.
inline std::vector<detection::Truths> solov2_truths(const std::string& run) {
  std::vector<detection::Truths> truths;
  for (const std::string n : {"0", "1"}) {
    const std::int64_t height = n == "0" ? 192 : 60;
    if (run == "boxinst") {
      const auto& golden = golden_boxinst();
      truths.push_back({golden.at("truth_boxes_" + n), golden.at("truth_classes_" + n), {}});
      truths.back().file_height = height;
      continue;
    }
    detection::Truths truth{solov2_at("truth_boxes_" + n), solov2_at("truth_classes_" + n).clone(),
                            solov2_at("truth_masks_" + n)};
    if (run == "freesolo") {
      truth.classes.fill(0);
      truth.embeddings = solov2_at("truth_embeddings_" + n);
      truth.file_height = height;
    }
    truths.push_back(truth);
  }
  return truths;
}

}  // namespace usol::test
