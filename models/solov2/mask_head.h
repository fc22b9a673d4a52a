#pragma once
// The mask features: p2 ... p5 brought to p2's size and added up. A cell's mask is their product with its kernel.
// Parameter names: mask_head.convs_all_levels.0.conv0 ... 3.conv2, mask_head.conv_pred.
// Source: Wang et al. 2020, section 3.3; AdelaiDet's SOLOv2MaskHead.

#include <vector>

#include "usol/models/solov2/config.h"
#include "usol/models/solov2/tower.h"
#include "usol/nn/context.h"

namespace usol::solov2 {

class MaskHead {
 public:
  MaskHead(const Scope& scope, const Config& config);

  /// p2 ... p5 (more are left) -> [N, kernel channels, H, W] of p2's size.
  Tensor operator()(const std::vector<Tensor>& maps, const Context& context) const;

 private:
  std::vector<std::vector<NormedConv>> levels_;
  NormedConv conv_pred_;
};

}  // namespace usol::solov2
