#pragma once
// Normalisation layers with their parameters.

#include <map>
#include <string_view>

#include "usol/nn/context.h"
#include "usol/nn/init.h"
#include "usol/nn/param_store.h"
#include "usol/ops/batch_norm.h"
#include "usol/ops/layer_norm.h"

namespace usol::nn {

/// "weight" [C], "bias" [C].
struct LayerNorm {
  Tensor weight, bias;
  double epsilon;

  LayerNorm(const Scope& scope, std::int64_t channels, double eps = 1e-6)
      : weight(scope.parameter("weight", {channels}, init::ones())),
        bias(scope.parameter("bias", {channels}, init::zeros())),
        epsilon(eps) {}
  /// x [..., C] -> the same shape.
  Tensor operator()(const Tensor& x) const { return layer_norm(x, weight, bias, epsilon); }
};

/// Detectron2's norms by their names there: "", "FrozenBN", "BN", "SyncBN".
enum class NormKind { kNone, kFrozenBn, kBn, kSyncBn };
/// Throws Error(kUsage) on another name.
NormKind parse_norm_kind(std::string_view text);

/// Batch normalisation: "weight", "bias" (buffers if frozen), "running_mean", "running_var", all [C] and f32 whatever
/// the store's dtype (f64 in a store of f64). PyTorch's "num_batches_tracked" is not kept: it changes nothing.
struct BatchNorm {
  Tensor weight, bias, running_mean, running_var;
  NormKind kind;
  double epsilon = 1e-5, momentum = 0.1;

  /// Throws Error for kNone.
  BatchNorm(const Scope& scope, std::int64_t channels, NormKind norm_kind);
  /// True if the statistics are those of the batch: training, and not frozen.
  bool uses_batch(const Context& context) const { return context.training && kind != NormKind::kFrozenBn; }
  /// x [N, C, H, W] -> the same shape; SyncBN takes its statistics over context.ranks. They move the running ones, or
  /// go to context.statistics.
  Tensor operator()(const Tensor& x, const Context& context, bool relu = false) const;
  /// From now on statistics are fixed and weight and bias get no gradient.
  void freeze();
};

/// Mean and variance of what batch norms see over many batches, every value counting alike ("precise BN").
/// Source: Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", appendix; fvcore's update_bn_stats.
class NormStatistics {
 public:
  /// Mean and unbiased variance [C] of one batch, of `count` values a channel.
  void add(const BatchNorm& norm, double count, const Tensor& mean, const Tensor& variance);
  /// Layers that have been seen.
  std::int64_t size() const { return static_cast<std::int64_t>(layers_.size()); }
  /// Writes mean and (biased) variance over all batches into the layers' running statistics.
  void store();

 private:
  struct Layer {
    Tensor running_mean, running_var;
    double count = 0;
    Tensor mean, square;  // [C] f64, weighted sums of means and of means of squares
  };
  std::map<const Storage*, Layer> layers_;  // by the running mean's memory
};

}  // namespace usol::nn
