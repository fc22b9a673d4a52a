#include "usol/pipeline/step_memory.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "usol/pipeline/progress.h"

namespace usol {
namespace {

// Measured as resident memory at peak: one or two steps of `usol train` with default widths in f32 and SGD, on pictures
// with 42 objects, so that the heads' samples are full; the cascade's last line by usol_bench. In MB:
//
//   detector             input        pictures  measured  estimate
//   Cascade Mask R-CNN   256 x 384           1      2024      1937
//   Cascade Mask R-CNN   480 x 640           1      2200      2480
//   Cascade Mask R-CNN   480 x 640           2      3510      3799
//   Cascade Mask R-CNN   800 x 1088          1      3654      3945
//   Cascade Mask R-CNN   800 x 1216          2      6489      7260
//   Mask R-CNN           256 x 384           1      1530      1482
//   Mask R-CNN           480 x 640           1      2212      2026
//   Mask R-CNN           480 x 640           2      3299      3224
//   SOLOv2               256 x 384           1      1435      1380
//   SOLOv2               256 x 384           2      2012      1907
//   SOLOv2               480 x 640           1      1992      1861
//   SOLOv2               800 x 1088          1      2946      3156
struct Measured {
  std::string_view detector;
  double parameters;
  double step, picture, pixel;  // bytes beside the weights: of any step, for each picture, for each of its pixels
};
constexpr Measured kMeasured[] = {{"Cascade Mask R-CNN", 71.8e6, 0.3e9, 0.52e9, 2600},
                                  {"Mask R-CNN", 43.9e6, 0.3e9, 0.4e9, 2600},
                                  {"SOLOv2", 46.2e6, 0.3e9, 0.3e9, 2300}};

// Two detectors of one name whose parameters differ by more than classes make are of other widths or depths.
constexpr double kSameParameters = 0.03;

std::int64_t up_to_multiple(std::int64_t length, std::int64_t step) { return (length + step - 1) / step * step; }

}  // namespace

StepWork step_work(const TrainConfig& settings, const train::Dataset& data, const Detector& model,
                   const ParamStore& parameters, std::int64_t ranks) {
  const detection::Info info = model.info();
  StepWork work{.detector = info.name};
  for (const auto& [name, entry] : parameters.entries())
    if (entry.kind == ParamStore::Kind::kParameter) work.parameters += static_cast<double>(entry.tensor.numel());
  work.copies = (settings.optimizer_name == "adamw" ? 4 : 3) + (settings.ema > 0 ? 1 : 0);
  const std::int64_t chosen = std::max<std::int64_t>(1, settings.batch / settings.accumulate / ranks);
  work.pictures = chosen * (settings.views == "one" ? 1 : 2);

  // Pictures of a group are of like shape; those of several are padded to the highest and the widest of them.
  const train::AugmentOptions& augment = settings.augment;
  const std::int64_t short_px = *std::max_element(augment.short_sides.begin(), augment.short_sides.end());
  Size largest, bounds;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const io::CocoImage& image = data.image(i);
    if (image.height <= 0 || image.width <= 0) continue;
    const Size size = network_size({image.height, image.width}, short_px, augment.long_side);
    if (size.height * size.width > largest.height * largest.width) largest = size;
    bounds = {std::max(bounds.height, size.height), std::max(bounds.width, size.width)};
  }
  work.padded = chosen > settings.group_size ? bounds : largest;
  const std::int64_t square = info.short_px == info.long_px ? info.short_px : 0;
  for (std::int64_t* side : {&work.padded.height, &work.padded.width})
    *side = up_to_multiple(std::max(*side, square), info.step_px);
  return work;
}

std::optional<double> step_memory(const StepWork& work) {
  for (const Measured& m : kMeasured) {
    if (m.detector != work.detector || std::abs(work.parameters / m.parameters - 1) > kSameParameters) continue;
    const double pixels = static_cast<double>(work.padded.height) * static_cast<double>(work.padded.width);
    return work.parameters * sizeof(float) * static_cast<double>(work.copies) + m.step +
           static_cast<double>(work.pictures) * (m.picture + m.pixel * pixels);
  }
  return std::nullopt;
}

void say_step_memory(const Run& run, const StepWork& work, double free_bytes) {
  const std::optional<double> bytes = step_memory(work);
  if (!bytes) return;
  const std::string text =
      fmt::format("a step takes about {} of memory ({} picture{} of up to {} x {} at once{}), {} are free",
                  format_bytes(*bytes), work.pictures, work.pictures == 1 ? "" : "s", work.padded.height,
                  work.padded.width, run.ranks ? ", in each process" : "", format_bytes(free_bytes));
  if (*bytes > free_bytes)
    run.warn(
        "{}: the system may end the training without a word. Less is taken with a smaller batch, short-sides and "
        "long-side (ViTDet: image-side), more passes (accumulate), or fewer processes on this machine",
        text);
  else if (run.dry_run)
    run.note("{}", text);
}

}  // namespace usol
