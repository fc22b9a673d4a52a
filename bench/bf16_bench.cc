// How far --precision bf16 changes masks: MaskCut on bf16 and on f32 features of the same pictures. With
// USOL_BF16_WEIGHTS naming DINO weights and USOL_BF16_PICTURES a folder of pictures:
//   USOL_BF16_WEIGHTS=W.pth USOL_BF16_PICTURES=images usol_bench --benchmark_filter=bf16
// On a CPU without AVX512-BF16 attention's products are the emulated ones, which is slow, and linear layers round their
// f32 results to bf16.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "usol/autograd/grad_mode.h"
#include "usol/io/checkpoint.h"
#include "usol/io/image.h"
#include "usol/io/resize.h"
#include "usol/io/rle.h"
#include "usol/maskcut/maskcut.h"
#include "usol/models/vit.h"
#include "usol/ops/attention_bf16.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

double iou(const Tensor& a, const Tensor& b) {
  const std::vector<io::Rle> one{io::rle_encode(a)}, other{io::rle_encode(b)};
  return io::rle_iou(one, other)[0];
}

// Largest difference of the features, relative to their largest value.
double difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<float>(), y = b.to_vector<float>();
  float worst = 0, most = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, std::abs(x[i] - y[i]));
    most = std::max(most, std::abs(x[i]));
  }
  return static_cast<double>(worst / most);
}

void run_masks(benchmark::State& state, const std::string& weights, const std::vector<fs::path>& pictures) {
  const NoGrad no_grad;
  if (bf16_products() == nullptr) set_bf16_products(emulated_bf16_products());
  const Vit f32 = Vit::from_state(io::load_checkpoint(weights).tensors, weights);
  const Vit bf16 = Vit::from_state(io::load_checkpoint(weights).tensors, weights, {}, DType::kBF16);
  maskcut::MaskCutOptions options;
  options.patch = f32.config().patch;
  double masks = 0, equal_counts = 0, ious = 0, above = 0, worst = 0;
  for (auto _ : state) {
    for (const fs::path& path : pictures) {
      const Tensor picture = io::decode_image(path);
      const Size frame = maskcut::working_size(picture.size(0), picture.size(1), options);
      const Tensor input = normalised(resize(picture, frame.height, frame.width, io::Filter::kLanczos));
      const Tensor exact = f32.features(input).select(0, 0), rounded = bf16.features(input).select(0, 0);
      worst = std::max(worst, difference(exact, rounded));
      const maskcut::MaskCutResult expected = maskcut::maskcut(exact, picture, options),
                                   found = maskcut::maskcut(rounded, picture, options);
      if (expected.masks.size() == found.masks.size()) ++equal_counts;
      for (const maskcut::PseudoMask& mask : expected.masks) {
        double best = 0;
        for (const maskcut::PseudoMask& other : found.masks) best = std::max(best, iou(mask.mask, other.mask));
        ious += best;
        if (best > 0.95) ++above;
        ++masks;
      }
    }
  }
  state.counters["pictures"] = static_cast<double>(pictures.size());
  state.counters["masks"] = masks;
  state.counters["mean_iou"] = ious / masks;
  state.counters["iou_above_0.95"] = above;
  state.counters["equal_counts"] = equal_counts;
  state.counters["feature_difference"] = worst;
}

}  // namespace

void register_bf16_benchmarks() {
  const char *weights = std::getenv("USOL_BF16_WEIGHTS"), *folder = std::getenv("USOL_BF16_PICTURES");
  if (weights == nullptr || folder == nullptr) return;
  std::vector<fs::path> pictures;
  for (const auto& entry : fs::directory_iterator(folder)) pictures.push_back(entry.path());
  std::sort(pictures.begin(), pictures.end());
  benchmark::RegisterBenchmark("bf16_masks", run_masks, std::string(weights), pictures)
      ->Iterations(1)
      ->UseRealTime()
      ->Unit(benchmark::kSecond);
}

}  // namespace usol
