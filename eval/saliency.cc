// All thresholds come from two histograms of the map, one over foreground and one over background pixels.
#include "usol/eval/saliency.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::eval {

namespace {

constexpr double kBetaSquared = 0.3;
constexpr double kFoundBetaSquared = 0.3 * 0.3;
constexpr double kFoundEpsilon = 1e-7;
constexpr int kLevels = kSaliencyThresholds + 1;

// How many of the thresholds lie strictly below the value, 0 .. 255.
int level_of(std::uint8_t value) { return value; }

int level_of(float value) {
  check(!std::isnan(value), "saliency_scores: expected values of 0 to 1, got NaN");
  const double v = value;
  int level = static_cast<int>(std::clamp(std::ceil(v * kSaliencyThresholds), 0.0, double{kSaliencyThresholds}));
  while (level > 0 && !(static_cast<double>(level - 1) / kSaliencyThresholds < v)) --level;
  while (level < kSaliencyThresholds && static_cast<double>(level) / kSaliencyThresholds < v) ++level;
  return level;
}

struct Counts {
  std::array<std::int64_t, kLevels> foreground{}, background{};
  std::int64_t intersection = 0, predicted = 0;  // of the map above 0.5
};

template <class T>
Counts count(const Tensor& map, const std::uint8_t* truth, T half) {
  const T* values = map.data<T>();
  Counts counts;
  for (std::int64_t i = 0; i < map.numel(); ++i) {
    const auto level = static_cast<std::size_t>(level_of(values[i]));
    const bool above = values[i] > half;
    counts.predicted += above;
    if (truth[i] != 0) {
      ++counts.foreground[level];
      counts.intersection += above;
    } else {
      ++counts.background[level];
    }
  }
  return counts;
}

}  // namespace

SaliencyScores saliency_scores(const Tensor& map, const Tensor& truth) {
  check(map.rank() == 2 && truth.shape() == map.shape(),
        "saliency_scores: expected a map and a truth [H, W] of one size, got {} and {}", map.shape(), truth.shape());
  check(map.dtype() == DType::kU8 || map.dtype() == DType::kF32, "saliency_scores: expected a map of u8 or f32, got {}",
        map.dtype());
  check(truth.dtype() == DType::kU8 || truth.dtype() == DType::kBool,
        "saliency_scores: expected a truth of u8 or bool, got {}", truth.dtype());
  const Tensor dense_map = map.contiguous(), dense_truth = truth.contiguous();
  const auto* truth_pixels = reinterpret_cast<const std::uint8_t*>(dense_truth.raw());
  const Counts counts = map.dtype() == DType::kU8 ? count<std::uint8_t>(dense_map, truth_pixels, 127)
                                                  : count<float>(dense_map, truth_pixels, 0.5f);
  std::int64_t truth_area = 0;
  for (const std::int64_t n : counts.foreground) truth_area += n;

  SaliencyScores scores;
  const std::int64_t both = counts.intersection, either = truth_area + counts.predicted - both;
  scores.iou = either == 0 ? 1 : static_cast<double>(both) / static_cast<double>(either);
  scores.accuracy = map.numel() == 0 ? 1 : 1 - static_cast<double>(either - both) / static_cast<double>(map.numel());

  // From the highest threshold down; above threshold i lie the levels i + 1 and more.
  std::int64_t true_positive = 0, area = 0;
  for (std::size_t i = kSaliencyThresholds; i-- > 0;) {
    true_positive += counts.foreground[i + 1];
    area += counts.foreground[i + 1] + counts.background[i + 1];
    const auto hits = static_cast<double>(true_positive);
    const double precision = area == 0 ? 1 : hits / static_cast<double>(area);
    const double recall = truth_area == 0 ? 1 : hits / static_cast<double>(truth_area);
    const double denominator = kBetaSquared * precision + recall;
    scores.f_beta[i] = denominator > 0 ? (1 + kBetaSquared) * precision * recall / denominator : 0;

    const double found_precision = hits / (static_cast<double>(area) + kFoundEpsilon);
    const double found_recall = hits / (static_cast<double>(truth_area) + kFoundEpsilon);
    const double found = (1 + kFoundBetaSquared) * found_precision * found_recall /
                         (kFoundBetaSquared * found_precision + found_recall + kFoundEpsilon);
    scores.found_f_max = std::max(scores.found_f_max, found);
  }
  return scores;
}

void SaliencyMean::add(const SaliencyScores& scores) {
  ++images_;
  iou_ += scores.iou;
  accuracy_ += scores.accuracy;
  found_f_max_ += scores.found_f_max;
  for (std::size_t i = 0; i < f_beta_.size(); ++i) f_beta_[i] += scores.f_beta[i];
}

Metrics SaliencyMean::metrics() const {
  const auto mean = [&](double sum) { return images_ > 0 ? sum / static_cast<double>(images_) : -1; };
  return {{"IoU", mean(iou_)},
          {"accuracy", mean(accuracy_)},
          {"max_F_beta", mean(*std::max_element(f_beta_.begin(), f_beta_.end()))},
          {"FOUND_max_F_beta", mean(found_f_max_)}};
}

}  // namespace usol::eval
