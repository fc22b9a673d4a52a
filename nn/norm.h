#pragma once
// Normalisation layers with their parameters.

#include <cstdint>
#include <map>
#include <string_view>
#include <variant>

#include "usol/nn/context.h"
#include "usol/nn/init.h"
#include "usol/nn/param_store.h"
#include "usol/ops/batch_norm.h"
#include "usol/ops/cast.h"
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

/// The norm of x [..., C], its weight and bias cast to x's dtype.
inline Tensor normed(const LayerNorm& norm, const Tensor& x) {
  return layer_norm(x, cast(norm.weight, x.dtype()), cast(norm.bias, x.dtype()), norm.epsilon);
}
/// x [N, C, H, W] normalised over the channels of each pixel. The result lies in memory as [N, H, W, C]; for an x that
/// does too it is fastest.
Tensor norm_channels(const LayerNorm& norm, const Tensor& x);

/// Group normalisation of maps: "weight" [C], "bias" [C].
struct GroupNorm {
  Tensor weight, bias;
  std::int64_t groups;
  double epsilon = 1e-5;

  /// Throws Error unless `groups` divides the channels. The default number of groups is Detectron2's.
  GroupNorm(const Scope& scope, std::int64_t channels, std::int64_t group_count = 32);
  /// x [N, C, H, W] -> the same shape, channels last in memory; weight and bias are cast to x's dtype.
  Tensor operator()(const Tensor& x) const;
};

/// Detectron2's norms by their names there: "", "FrozenBN", "BN", "SyncBN", "GN" (32 groups), "LN" (over the channels
/// of each pixel).
enum class NormKind { kNone, kFrozenBn, kBn, kSyncBn, kGn, kLn };
/// Throws Error(kUsage) on another name.
NormKind parse_norm_kind(std::string_view text);

/// Batch normalisation: "weight", "bias" (buffers if frozen), "running_mean", "running_var", all [C] and f32 whatever
/// the store's dtype (f64 in a store of f64). PyTorch's "num_batches_tracked" is not kept: it changes nothing.
struct BatchNorm {
  Tensor weight, bias, running_mean, running_var;
  NormKind kind;
  double epsilon = 1e-5, momentum = 0.1;

  /// Throws Error unless the kind is one of the three batch norms.
  BatchNorm(const Scope& scope, std::int64_t channels, NormKind norm_kind);
  /// True if the statistics are those of the batch: training, and not frozen.
  bool uses_batch(const Context& context) const { return context.training && kind != NormKind::kFrozenBn; }
  /// x [N, C, H, W] -> the same shape. In training the statistics are the batch's (SyncBN: those of all context.ranks
  /// together). They move the running ones, or are added to context.statistics where there is one.
  Tensor operator()(const Tensor& x, const Context& context, bool relu = false) const;
  /// From now on statistics are fixed and weight and bias get no gradient.
  void freeze();
};

/// The norm after a convolution, as Detectron2's get_norm chooses it.
class Norm {
 public:
  /// Throws Error for kNone, and for "GN" on channels that 32 groups do not divide.
  Norm(const Scope& scope, std::int64_t channels, NormKind kind);

  /// [relu] of the norm of x [N, C, H, W].
  Tensor operator()(const Tensor& x, const Context& context, bool relu = false) const;
  /// From now on weight and bias get no gradient, and a batch norm's statistics are fixed.
  void freeze();
  /// "weight" and "bias", which every kind has.
  const Tensor& weight() const;
  const Tensor& bias() const;
  /// The batch norm that this is; null for "GN" and "LN".
  BatchNorm* batch() { return std::get_if<BatchNorm>(&norm_); }
  const BatchNorm* batch() const { return std::get_if<BatchNorm>(&norm_); }

 private:
  std::variant<BatchNorm, GroupNorm, LayerNorm> norm_;
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
