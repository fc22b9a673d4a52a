#pragma once
// The mask head: region features -> four convolutions -> twice the size -> a mask per class. Parameter names:
// mask_head.mask_fcn1 ... mask_fcn4, deconv, predictor.
// Source: He et al. 2017, "Mask R-CNN"; Detectron2's MaskRCNNConvUpsampleHead.

#include <cstdint>
#include <vector>

#include "usol/nn/conv.h"
#include "usol/nn/param_store.h"
#include "usol/ops/all_reduce.h"

namespace usol::rcnn {

struct MaskHeadConfig {
  std::int64_t channels = 256, hidden = 256, convolutions = 4;
  nn::NormKind norm = nn::NormKind::kNone;  // after each of them
  std::int64_t classes = 1;
};

class MaskHead {
 public:
  MaskHead(const Scope& scope, const MaskHeadConfig& config);

  /// pooled [R, C, P, P] -> logits [R, classes, 2 P, 2 P].
  Tensor operator()(const Tensor& pooled, const Context& context) const;
  /// The plane of each region's class: logits [R, K, M, M], classes i64 [R] -> [R, M, M] f32.
  static Tensor of_class(const Tensor& logits, const Tensor& classes);
  /// Binary cross-entropy of [R, M, M] against targets of 0 and 1, mean over pixels (of all ranks together); 0 for no
  /// regions.
  static Tensor loss(const Tensor& logits, const Tensor& targets, Communicator* ranks = nullptr);

 private:
  std::vector<nn::Conv2d> convolutions_;
  nn::ConvTranspose2d deconv_;
  nn::Conv2d predictor_;
};

}  // namespace usol::rcnn
