#pragma once
// The projection head of DINO, which training alone needs: features -> a small space -> scores of many prototypes.
// Source: Caron et al. 2021, section 3.1 and appendix C; the public code's DINOHead, whose names these are.

#include <cstdint>

#include "usol/nn/linear.h"
#include "usol/nn/param_store.h"
#include "usol/nn/weight_norm.h"

namespace usol {

struct DinoHeadConfig {
  std::int64_t hidden = 2048, bottleneck = 256, out = 65536;
  bool fixed_gain = true;  // the last layer's rows keep length 1 (norm_last_layer)
};

class DinoHead {
 public:
  /// Throws Error unless all sizes are positive.
  DinoHead(const Scope& scope, std::int64_t width, const DinoHeadConfig& config);

  /// x [..., width] -> rows of length 1, [..., bottleneck], in f32 unless x is f64.
  Tensor project(const Tensor& x) const;
  /// What project() gives -> scores [..., out]. Products are in `dtype`, the result is f32 unless that is f64.
  Tensor scores(const Tensor& projected, DType dtype) const;
  Tensor operator()(const Tensor& x) const { return scores(project(x), x.dtype()); }

 private:
  nn::Linear first_, second_, third_;  // "mlp.0", "mlp.2", "mlp.4"
  nn::WeightNormLinear last_;          // "last_layer"
};

}  // namespace usol
