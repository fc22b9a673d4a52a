#pragma once
// The detector: backbone, region proposals, region heads. Mask R-CNN and Cascade Mask R-CNN on a feature pyramid, both
// also without masks (Faster R-CNN, Cascade R-CNN), and Faster R-CNN on C4, with Detectron2's parameter names, so that
// its and CutLER's checkpoints load by name.
// Place: pictures and pseudo-masks (or boxes) go in for training; pictures alone, for objects.

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/models/detector.h"
#include "usol/models/fpn.h"
#include "usol/models/rcnn/cascade.h"
#include "usol/models/rcnn/instances.h"
#include "usol/models/rcnn/rpn.h"
#include "usol/nn/context.h"
#include "usol/nn/param_store.h"

namespace usol {

struct RcnnConfig {
  MakeBackbone backbone = resnet_fpn();  // p2 ... p6, with the heads' channels; or C4's res4
  rcnn::RpnConfig rpn;
  rcnn::RoiHeadsConfig heads;
};

/// CutLER's settings with a ResNet-50: three stages (Cascade Mask R-CNN) or one (Mask R-CNN), `classes` without the
/// background. The norm is SyncBN throughout, nothing is frozen.
RcnnConfig cutler_config(std::int64_t stages = 3, std::int64_t classes = 1);
/// The settings of Detectron2's ViTDet project with a ViT-B: norms ("LN") in the heads, one fully connected layer, a
/// deeper RPN, its thresholds.
RcnnConfig vitdet_rcnn_config(std::int64_t stages = 3, std::int64_t classes = 1);
/// Faster R-CNN on C4, as Detectron2's Base-RCNN-C4 and as LOST trains it: res5 in the heads, a box for each class, 15
/// anchors a place. `resnet`: the whole network's sizes; `norm_after`: LOST's norm behind res5.
RcnnConfig c4_config(const ResNetConfig& resnet, bool norm_after, std::int64_t classes = 1);
/// Reads stages, classes, widths, depths and norms off a checkpoint's shapes; nothing if it is no detector of this
/// kind.
std::optional<RcnnConfig> rcnn_config(const StateDict& state);

class Rcnn : public Detector {
 public:
  /// `device` and `dtype` are those of the scope's store.
  Rcnn(const Scope& scope, const RcnnConfig& config, Device device = {}, DType dtype = DType::kF32);
  /// A model that shares `state`'s tensors, for inference. What old Detectron2 files also hold (pixel_mean, pixel_std,
  /// the anchors) is left out. Throws Error listing the keys that do not fit; `what` names the file in errors.
  static Rcnn from_state(StateDict state, std::string_view what, Device device = {}, DType dtype = DType::kF32);

  const RcnnConfig& config() const { return config_; }
  detection::Info info() const override;
  const Backbone& backbone() const { return *backbone_; }
  const rcnn::Rpn& rpn() const { return *rpn_; }
  const rcnn::RoiHeads& heads() const { return *heads_; }

  /// Pictures u8 (or f32, 0..255) [H, W, 3] RGB at their network_size() -> [N, 3, H', W'], normalised, then zeros on
  /// the right and below up to the backbone's square, or to its multiples that hold the pictures of all ranks.
  Tensor preprocess(const std::vector<Tensor>& pictures, Communicator* ranks = nullptr) const;
  /// Feature maps p2 ... p6 (on C4: res4) of preprocessed pictures.
  std::vector<Tensor> features(const Tensor& images, const Context& context) const;

  /// All losses of a batch, under Detectron2's names, as Detector has them; what is drawn, `sampler` decides.
  rcnn::Losses losses(const std::vector<Tensor>& pictures, const std::vector<rcnn::Truths>& truths,
                      const rcnn::Sampler& sampler, const Context& context) const;
  rcnn::Losses losses(const std::vector<Tensor>& pictures, const std::vector<rcnn::Truths>& truths,
                      const detection::Draws& draws, const Context& context) const override;
  /// On C4 the norms of res5 see regions of each picture: as many proposals as training samples, evenly over all of
  /// them, best to worst. (Detectron2 runs the whole training pass, where the truths' boxes are among the regions.)
  void run_norms(const std::vector<Tensor>& pictures, const Context& context) const override;
  /// The maps are p2 ... p5 (on C4: res4).
  detection::Seen see(const std::vector<Tensor>& pictures, const rcnn::DetectOptions& options) const override;
  void add_masks(detection::Seen& seen) const override;

 private:
  std::vector<rcnn::Proposals> training_proposals(const std::vector<Tensor>& anchors, const rcnn::Rpn::Output& output,
                                                  const std::vector<Size>& sizes, Communicator* ranks) const;
  Tensor to_model(const Tensor& images) const;

  RcnnConfig config_;
  Device device_;
  DType dtype_;
  std::shared_ptr<Backbone> backbone_;
  std::shared_ptr<rcnn::Rpn> rpn_;
  std::shared_ptr<rcnn::RoiHeads> heads_;
};

/// Makes an Rcnn of that config.
MakeDetector rcnn_maker(const RcnnConfig& config);

}  // namespace usol
