#pragma once
// The instance head: for every cell of every level's grid its classes, the kernel that makes its mask, and, in
// FreeSOLO, an embedding. Parameter names: ins_head.cate_tower, kernel_tower, cate_pred, kernel_pred, emb_pred. Source:
// Wang et al. 2020, section 3.2; AdelaiDet's SOLOv2InsHead.

#include <optional>
#include <vector>

#include "usol/models/solov2/config.h"
#include "usol/models/solov2/tower.h"
#include "usol/nn/context.h"

namespace usol::solov2 {

/// What the head says of a level's S x S cells.
struct Cells {
  Tensor categories;  // [N, outputs, S, S], logits
  Tensor kernels;     // [N, kernel channels, S, S]
  Tensor embeddings;  // [N, embedding, S, S]; undefined without
};

class InsHead {
 public:
  InsHead(const Scope& scope, const Config& config);

  /// instance_levels() -> the cells of each. The towers are shared by all levels.
  std::vector<Cells> operator()(const std::vector<Tensor>& levels, const Context& context) const;

 private:
  std::vector<std::int64_t> grids_;
  Tower cate_tower_, kernel_tower_;
  nn::Conv2d cate_pred_, kernel_pred_;
  std::optional<nn::Conv2d> emb_pred_;
};

}  // namespace usol::solov2
