#pragma once
// The two fully connected layers of a transformer's block, with GELU between them or gated (SwiGLU).
// Source: Dosovitskiy et al. 2021; Shazeer 2020, "GLU Variants Improve Transformer"; Oquab et al. 2023 (DINOv2).

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "usol/nn/linear.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/tensor.h"

namespace usol::nn {

enum class MlpKind {
  kGelu,         // fc2(gelu(fc1(x)))
  kSwiGlu,       // w3(silu(a) * b), [a, b] = w12(x): DINOv2's ViT-g
  kSwiGluSplit,  // w3(silu(w1(x)) * w2(x)): DINOv3
};

struct MlpConfig {
  std::int64_t width = 384, hidden = 1536;
  MlpKind kind = MlpKind::kGelu;
  /// Names of the layers in the order above; an empty one is that of the comment ("fc1", "w12", "w1" ...).
  std::array<std::string, 3> names = {};
};

class Mlp {
 public:
  /// Throws Error unless both widths are positive.
  Mlp(const Scope& scope, const MlpConfig& config);

  /// x [..., width] -> [..., hidden]: all but the last layer.
  Tensor hidden(const Tensor& x) const;
  /// The last layer: [..., hidden] -> [..., width].
  const Linear& last() const { return last_; }
  Tensor operator()(const Tensor& x) const { return last_(hidden(x)); }

 private:
  MlpKind kind_;
  Linear first_;
  std::optional<Linear> second_;  // kSwiGluSplit
  Linear last_;
};

}  // namespace usol::nn
