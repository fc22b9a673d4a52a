#include "usol/maskcut/baselines/found_train.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>

#include "usol/autograd/tape.h"
#include "usol/io/resize.h"
#include "usol/ops/binary_cross_entropy.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/linear.h"
#include "usol/ops/random.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

Tensor interpolated(const Tensor& map, std::int64_t height, std::int64_t width) {
  const Tensor f = map.to(DType::kF32).contiguous().reshape({1, 1, map.size(0), map.size(1)});
  return interpolate(f, height, width).reshape({height, width});
}

Tensor above(const Tensor& map, float threshold) {
  const Tensor dense = map.contiguous();
  Tensor mask = Tensor::empty(map.shape(), DType::kU8);
  std::uint8_t* m = mask.mutable_data<std::uint8_t>();
  const float* value = dense.data<float>();
  for (std::int64_t i = 0; i < map.numel(); ++i) m[i] = value[i] > threshold;
  return mask;
}

Tensor inverted(Tensor mask) {
  std::uint8_t* m = mask.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < mask.numel(); ++i) m[i] = m[i] == 0;
  return mask;
}

// Mean binary cross-entropy of logits [n, 1] against a mask of n zeros and ones.
Tensor loss_against(const Tensor& logits, const Tensor& mask) {
  return mean(binary_cross_entropy_with_logits(logits, mask.to(DType::kF32).reshape(logits.shape())));
}

// Masks of one shape, one after the other: u8 [n].
Tensor joined(const std::vector<Tensor>& masks) {
  const std::int64_t n = masks[0].numel();
  Tensor out = Tensor::empty({static_cast<std::int64_t>(masks.size()) * n}, DType::kU8);
  for (std::size_t i = 0; i < masks.size(); ++i) {
    const auto first = static_cast<std::int64_t>(i) * n;
    out.slice(0, first, first + n).copy_from(masks[i].reshape({n}));
  }
  return out;
}

Tensor uniform_within(double bound, const Shape& shape, Generator& generator) {
  return uniform(shape, generator, -bound, bound);
}

}  // namespace

Tensor found_fit(const Tensor& mask, const Tensor& image, const BilateralSolver& solver) {
  const Tensor soft = interpolated(mask, image.size(0), image.size(1));
  const Tensor refined = all_but_largest(solver.solve(soft));
  if (!(mask_iou(above(soft, 0.5f), refined) > 0.5)) return mask;
  return above(interpolated(refined, mask.size(0), mask.size(1)), 0);
}

FoundTrainer::FoundTrainer(std::int64_t width, std::uint64_t seed, const FoundTrainOptions& options)
    : options_(options) {
  check(width >= 1, "found: expected a layer of at least one channel, got {}", width);
  Generator generator(seed);
  const double bound = 1 / std::sqrt(static_cast<double>(width));
  weight_ = uniform_within(bound, {1, width}, generator);
  bias_ = uniform_within(bound, {1}, generator);
  weight_mean_ = weight_square_ = Tensor::zeros({1, width});
  weight_square_ = Tensor::zeros({1, width});
  bias_mean_ = Tensor::zeros({1});
  bias_square_ = Tensor::zeros({1});
}

FoundTrainer::FoundTrainer(const FoundHead& head, const FoundTrainOptions& options)
    : FoundTrainer(head.weight.numel(), 0, options) {
  weight_ = head.weight.to(DType::kF32).clone().reshape(weight_.shape());
  bias_.fill(static_cast<double>(head.bias));
}

FoundHead FoundTrainer::head() const {
  return {weight_.detach().clone().reshape({-1}), static_cast<float>(bias_.item())};
}

FoundLosses FoundTrainer::step(const std::vector<FoundSample>& batch) {
  check(!batch.empty(), "found: an empty batch");
  const bool with_background = steps_ < options_.background_steps;
  const std::int64_t dim = weight_.size(1), height = batch[0].keys.size(1), width = batch[0].keys.size(2);
  const std::int64_t n = height * width, count = static_cast<std::int64_t>(batch.size());
  Tensor rows = Tensor::empty({count * n, dim});
  for (std::int64_t i = 0; i < count; ++i) {
    const FoundSample& sample = batch[static_cast<std::size_t>(i)];
    check(sample.keys.shape() == Shape{dim, height, width} && sample.keys.dtype() == DType::kF32,
          "found: expected keys f32 {}, got {} {}", Shape{dim, height, width}, sample.keys.dtype(),
          sample.keys.shape());
    check(!with_background || sample.attention.defined(), "found: the first {} steps need the attention",
          options_.background_steps);
    rows.slice(0, i * n, (i + 1) * n).copy_from(sample.keys.reshape({dim, n}).transpose(0, 1));
  }
  set_requires_grad(weight_);
  set_requires_grad(bias_);
  const Tensor logits = linear(rows, weight_, bias_);

  // The three masks that the layer is drawn to; no gradient flows through them.
  const Tensor own = above(logits.detach(), 0);
  std::vector<Tensor> refined(batch.size()), objects(batch.size());
  parallel_for_each(0, count, [&](std::int64_t i) {
    const FoundSample& sample = batch[static_cast<std::size_t>(i)];
    const BilateralSolver solver(sample.image);
    const Tensor mask = own.slice(0, i * n, (i + 1) * n).reshape({height, width});
    refined[static_cast<std::size_t>(i)] = found_fit(mask, sample.image, solver);
    if (!with_background) return;
    const Tensor object = inverted(found_background(sample.keys, sample.attention, options_.background));
    objects[static_cast<std::size_t>(i)] = found_fit(object, sample.image, solver);
  });

  const Tensor refined_loss = affine(loss_against(logits, joined(refined)), options_.refined_weight);
  const Tensor other_loss =
      with_background ? loss_against(logits, joined(objects)) : affine(loss_against(logits, own), options_.own_weight);
  const Tensor total = add(refined_loss, other_loss);
  backward(total);
  const Tensor weight_gradient = grad(weight_), bias_gradient = grad(bias_);
  set_requires_grad(weight_, false);
  set_requires_grad(bias_, false);
  update(weight_, weight_gradient, weight_mean_, weight_square_);
  update(bias_, bias_gradient, bias_mean_, bias_square_);
  ++steps_;
  return {total.item(), refined_loss.item(), other_loss.item()};
}

// Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
void FoundTrainer::update(Tensor& parameter, const Tensor& gradient, Tensor& mean, Tensor& square) const {
  const auto t = static_cast<double>(steps_ + 1);
  const double rate =
      options_.learning_rate * std::pow(options_.decay, static_cast<double>(steps_ / options_.decay_every));
  const double first = 1 - std::pow(options_.beta1, t), second = 1 - std::pow(options_.beta2, t);
  const Tensor dense = gradient.contiguous();
  const float* g = dense.data<float>();
  float* p = parameter.mutable_data<float>();
  float* m = mean.mutable_data<float>();
  float* v = square.mutable_data<float>();
  for (std::int64_t i = 0; i < parameter.numel(); ++i) {
    const double gi = g[i];
    const double mi = options_.beta1 * m[i] + (1 - options_.beta1) * gi;
    const double vi = options_.beta2 * v[i] + (1 - options_.beta2) * gi * gi;
    m[i] = static_cast<float>(mi);
    v[i] = static_cast<float>(vi);
    p[i] = static_cast<float>(p[i] * (1 - rate * options_.weight_decay) -
                              rate * (mi / first) / (std::sqrt(vi / second) + options_.eps));
  }
}

std::map<std::string, Tensor> FoundTrainer::state() const {
  return {{"weight", weight_.detach()},
          {"weight.mean", weight_mean_},
          {"weight.square", weight_square_},
          {"bias", bias_.detach()},
          {"bias.mean", bias_mean_},
          {"bias.square", bias_square_},
          {"steps", Tensor::from<std::int64_t>({steps_}, {1})}};
}

void FoundTrainer::load_state(const std::map<std::string, Tensor>& state) {
  const std::map<std::string, Tensor> mine = this->state();
  for (const auto& [name, tensor] : mine) {
    const auto found = state.find(name);
    check(found != state.end() && found->second.shape() == tensor.shape() && found->second.dtype() == tensor.dtype(),
          ErrorKind::kFormat, "found: the saved state has no '{}' {} {}", name, tensor.dtype(), tensor.shape());
  }
  weight_ = state.at("weight").clone();
  weight_mean_ = state.at("weight.mean").clone();
  weight_square_ = state.at("weight.square").clone();
  bias_ = state.at("bias").clone();
  bias_mean_ = state.at("bias.mean").clone();
  bias_square_ = state.at("bias.square").clone();
  steps_ = static_cast<std::int64_t>(state.at("steps").item());
}

Tensor gaussian_blur(const Tensor& image, std::int64_t taps, double sigma) {
  check(
      image.rank() == 3 && image.dtype() == DType::kU8 && image.numel() > 0 && taps >= 1 && taps % 2 == 1 && sigma > 0,
      "gaussian_blur: expected u8 [H, W, C], odd taps and a positive sigma, got {} {}, {} and {}", image.dtype(),
      image.shape(), taps, sigma);
  const std::int64_t radius = taps / 2, height = image.size(0), width = image.size(1), channels = image.size(2);
  std::vector<double> kernel(static_cast<std::size_t>(taps));
  double sum = 0;
  for (std::int64_t i = 0; i < taps; ++i) {
    const double x = static_cast<double>(i - radius) / sigma;
    sum += kernel[static_cast<std::size_t>(i)] = std::exp(-x * x / 2);
  }
  for (double& k : kernel) k /= sum;
  const auto mirrored = [](std::int64_t i, std::int64_t n) {
    if (n == 1) return std::int64_t{0};
    const std::int64_t period = 2 * (n - 1);
    i = ((i % period) + period) % period;
    return i < n ? i : period - i;
  };
  const Tensor dense = image.contiguous();
  const std::uint8_t* in = dense.data<std::uint8_t>();
  std::vector<double> across(static_cast<std::size_t>(image.numel()));
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < channels; ++c) {
        double value = 0;
        for (std::int64_t t = 0; t < taps; ++t)
          value +=
              kernel[static_cast<std::size_t>(t)] * in[(y * width + mirrored(x + t - radius, width)) * channels + c];
        across[static_cast<std::size_t>((y * width + x) * channels + c)] = value;
      }
  Tensor out = Tensor::empty(image.shape(), DType::kU8);
  std::uint8_t* o = out.mutable_data<std::uint8_t>();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t i = 0; i < width * channels; ++i) {
      double value = 0;
      for (std::int64_t t = 0; t < taps; ++t)
        value += kernel[static_cast<std::size_t>(t)] *
                 across[static_cast<std::size_t>(mirrored(y + t - radius, height) * width * channels + i)];
      o[y * width * channels + i] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(value), 0.0, 255.0));
    }
  return out;
}

Tensor found_augment(const Tensor& image, std::int64_t side, Generator& generator) {
  constexpr double kLeastScale = 0.1, kMostScale = 3, kLeastSigma = 0.1, kMostSigma = 2;
  check(image.rank() == 3 && image.dtype() == DType::kU8 && image.numel() > 0 && side >= 1,
        "found_augment: expected u8 [H, W, 3] and a side of at least 1, got {} {} and {}", image.dtype(), image.shape(),
        side);
  const auto scaled = [](double x, double by) { return std::max<std::int64_t>(1, static_cast<std::int64_t>(x * by)); };
  const double shorter = static_cast<double>(std::min(image.size(0), image.size(1)));
  const std::int64_t height = image.size(0) <= image.size(1)
                                  ? side
                                  : scaled(static_cast<double>(image.size(0)) / shorter, static_cast<double>(side));
  const std::int64_t width = image.size(1) <= image.size(0)
                                 ? side
                                 : scaled(static_cast<double>(image.size(1)) / shorter, static_cast<double>(side));
  const double scale = generator.uniform(kLeastScale, kMostScale);
  const bool blur = generator.uniform() < 0.5f;
  const double sigma = generator.uniform(kLeastSigma, kMostSigma);
  Tensor out = resize(image, height, width, io::Filter::kBilinear);
  out = resize(out, scaled(static_cast<double>(height), scale), scaled(static_cast<double>(width), scale),
               io::Filter::kBilinear);
  out = resize(out, side, side, io::Filter::kBilinear);
  if (!blur) return out;
  // A tenth of the side, made odd from an even number.
  const auto taps = static_cast<std::int64_t>(std::floor(0.1 * static_cast<double>(side) / 2)) * 2 + 1;
  return gaussian_blur(out, taps, sigma);
}

}  // namespace usol::maskcut
