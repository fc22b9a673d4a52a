#pragma once
// The runs recorded in tests/golden/rcnn_*.safetensors (make_rcnn.py) and vitdet_*.safetensors: detectors at small
// widths.

#include <map>
#include <string>
#include <vector>

#include "usol/models/rcnn/rcnn.h"
#include "usol/models/vitdet.h"
#include "usol/tensor/tensor.h"

namespace usol::test {

/// The settings that the script chose.
RcnnConfig golden_config(std::int64_t stages, nn::NormKind norm = nn::NormKind::kSyncBn);
/// Parameters of "cascade" or "mask".
StateDict golden_weights(const std::string& run);
/// The same of make_vitdet.py, whose detector is on ViTDet.
RcnnConfig golden_vitdet_config();
VitDetConfig golden_vitdet();
StateDict golden_vitdet_weights();
/// The two pictures, u8 [H, W, 3].
std::vector<Tensor> golden_pictures();
/// Their truths; the second has none in the run "none".
std::vector<rcnn::Truths> golden_truths(bool second = true);
/// What the script recorded of a run while training or testing.
class GoldenRun {
 public:
  /// A run of tests/golden/<kind><file>.safetensors.
  GoldenRun(const std::string& file, const std::string& run, const std::string& kind = "rcnn_");
  bool has(const std::string& name) const { return tensors_.contains(run_ + "/" + name); }
  const Tensor& at(const std::string& name) const;
  /// name_0, name_1, ...
  std::vector<Tensor> list(const std::string& name) const;
  /// Returns the recorded choices one after another: of all steps and calls.
  rcnn::Sampler sampler() const;

 private:
  std::map<std::string, Tensor> tensors_;
  std::string run_;
};

}  // namespace usol::test
