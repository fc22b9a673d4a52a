#pragma once
// Trains FOUND's linear layer without labels: first towards what is not background, and always towards its own masks
// fitted to the pictures' edges.
// Source: Simeoni et al. 2023, "Unsupervised Object Localization: Observing the Background to Discover Objects",
// section 3.3; constants from its public configuration.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "usol/maskcut/baselines/found.h"
#include "usol/maskcut/bilateral_solver.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {

struct FoundTrainOptions {
  double learning_rate = 0.05;  // AdamW's, times `decay` every `decay_every` steps
  double decay = 0.95;
  std::int64_t decay_every = 50;
  double weight_decay = 0.01, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  // AdamW's, PyTorch's defaults
  double refined_weight = 1.5;                                         // of the loss towards the refined own mask
  double own_weight = 4;                                               // of that towards the own mask, later on
  std::int64_t background_steps = 100;  // steps with the background's mask; later ones have the own mask instead
  FoundOptions background;
};

/// What one picture of a batch gives.
struct FoundSample {
  Tensor keys;       // f32 [D, h, w], k of the last block
  Tensor attention;  // f32 [heads, h, w] of the class token; may be undefined once background_steps are over
  Tensor image;      // u8 [H, W, 3] that they were made of
};

struct FoundLosses {
  double total = 0;
  double refined = 0, other = 0;  // weighted; `other` is towards the background's mask or the own one
};

class FoundTrainer {
 public:
  /// A layer for `width` channels, uniform in +-1/sqrt(width) as PyTorch's convolution starts.
  FoundTrainer(std::int64_t width, std::uint64_t seed, const FoundTrainOptions& options = {});
  /// A given layer.
  FoundTrainer(const FoundHead& head, const FoundTrainOptions& options = {});

  /// One step of AdamW on the mean loss over all patches of a batch. Throws Error if the samples do not have one shape,
  /// or do not fit the layer.
  FoundLosses step(const std::vector<FoundSample>& batch);
  std::int64_t steps() const { return steps_; }
  FoundHead head() const;

  /// Everything that the next steps depend on, and back. load_state() throws Error if it does not fit.
  std::map<std::string, Tensor> state() const;
  void load_state(const std::map<std::string, Tensor>& state);

 private:
  void update(Tensor& parameter, const Tensor& gradient, Tensor& mean, Tensor& square) const;

  FoundTrainOptions options_;
  Tensor weight_, bias_;  // [1, D], [1]
  Tensor weight_mean_, weight_square_, bias_mean_, bias_square_;
  std::int64_t steps_ = 0;
};

/// A patch mask (u8 [h, w]) fitted to the edges of `image` (u8 [H, W, 3]), back on the patch grid: enlarged bilinearly,
/// refined by `solver` (of that image), all components but the largest; a patch is set if the reduced result is not 0
/// there. The mask itself if the IoU of the two at the image's size is not above 0.5.
Tensor found_fit(const Tensor& mask, const Tensor& image, const BilateralSolver& solver);

/// FOUND's augmentation: the shorter side to `side` pixels, both sides times a random factor of 0.1 to 3, then to
/// side x side (all bilinear, Pillow's), and in half of the cases a Gaussian blur of standard deviation 0.1 to 2.
/// image, result: u8 [H, W, 3].
Tensor found_augment(const Tensor& image, std::int64_t side, Generator& generator);

/// Gaussian blur of a u8 [H, W, C] image with a kernel of `taps` (odd) pixels, borders mirrored without repeating the
/// last pixel. Throws Error on other inputs.
Tensor gaussian_blur(const Tensor& image, std::int64_t taps, double sigma);

}  // namespace usol::maskcut
