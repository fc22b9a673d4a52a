#include "usol/pipeline/overlay.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/draw.h"
#include "usol/io/image.h"
#include "usol/io/resize.h"
#include "usol/io/rle.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr std::int64_t kMostWidth = 720, kLeastWidth = 480, kGap = 8;
constexpr std::int64_t kMostHeight = 4 * kMostWidth;  // of a picture
constexpr std::int64_t kMostSheet = 32768;            // high, of all rows: JPEG ends at 65535

// One above the other on white, each in the middle.
Tensor stack(const std::vector<Tensor>& rows) {
  std::int64_t height = kGap * (static_cast<std::int64_t>(rows.size()) - 1), width = 0;
  for (const Tensor& row : rows) {
    height += row.size(0);
    width = std::max(width, row.size(1));
  }
  Tensor out = Tensor::full({height, width, 3}, 255, DType::kU8);
  std::int64_t top = 0;
  for (const Tensor& row : rows) {
    const std::int64_t left = (width - row.size(1)) / 2;
    out.slice(0, top, top + row.size(0)).slice(1, left, left + row.size(1)).copy_from(row);
    top += row.size(0) + kGap;
  }
  return out;
}

// Rows that are heat maps of many cuts may be too many for a picture file; the rest is left away.
void add_row(std::vector<Tensor>& rows, Tensor row) {
  std::int64_t height = row.size(0);
  for (const Tensor& other : rows) height += other.size(0) + kGap;
  if (height <= kMostSheet) rows.push_back(std::move(row));
}

// Small pictures are enlarged, so that the labels can be read; long ones only as far as their height is bounded.
Size drawn_size(const Tensor& image) {
  const std::int64_t width = std::clamp(image.size(1), kLeastWidth, kMostWidth);
  const double scale = static_cast<double>(width) / static_cast<double>(image.size(1));
  const std::int64_t height = std::max<std::int64_t>(1, std::llround(static_cast<double>(image.size(0)) * scale));
  if (height <= kMostHeight) return {height, width};
  const double narrow = static_cast<double>(kMostHeight) / static_cast<double>(image.size(0));
  return {kMostHeight, std::max<std::int64_t>(1, std::llround(static_cast<double>(image.size(1)) * narrow))};
}

}  // namespace

Tensor draw_masks(const Tensor& image, const std::vector<Tensor>& masks, const Tensor& soft) {
  const auto [height, width] = drawn_size(image);
  std::vector<io::OverlayObject> objects;
  for (const Tensor& mask : masks) {
    io::OverlayObject object;
    object.mask = resize(mask, height, width, io::Filter::kNearest);
    object.box = io::rle_to_box(io::rle_encode(object.mask));
    objects.push_back(std::move(object));
  }
  std::vector<Tensor> rows{io::draw_overlay(resize(image, height, width, io::Filter::kLanczos), objects)};
  if (soft.defined()) rows.push_back(io::draw_heat_map(soft, height, width, io::Filter::kBilinear));
  return stack(rows);
}

Tensor draw_maskcut(const Tensor& image, const maskcut::MaskCutResult& result) {
  const auto [height, width] = drawn_size(image);
  std::vector<io::OverlayObject> objects;
  for (const auto& mask : result.masks) {
    io::OverlayObject object;
    object.mask = resize(mask.mask, height, width, io::Filter::kNearest);
    object.box = io::rle_to_box(io::rle_encode(object.mask));
    object.label = fmt::format("{:.2f}", mask.score);
    objects.push_back(std::move(object));
  }
  std::vector<Tensor> rows{io::draw_overlay(resize(image, height, width, io::Filter::kLanczos), objects)};
  std::vector<io::Panel> cuts;
  const auto count = static_cast<std::int64_t>(std::max<std::size_t>(result.stages.size(), 3));
  const std::int64_t cut_width = std::max<std::int64_t>(1, width / std::min<std::int64_t>(count, 5) - kGap);
  // Of a long picture it is no taller: its caption and gaps would grow with it.
  const std::int64_t cut_height = std::clamp<std::int64_t>(height * cut_width / width, 1, kMostWidth);
  for (std::size_t t = 0; t < result.stages.size(); ++t) {
    const maskcut::CutStage& stage = result.stages[t];
    std::string caption = fmt::format("cut {}: {}", t + 1, name_of(stage.outcome));
    if (stage.eigenvector.defined()) {
      // Light is the side the object is on.
      Tensor values = stage.eigenvector.clone();
      if (stage.complemented) {
        double* v = values.mutable_data<double>();
        for (std::int64_t i = 0; i < values.numel(); ++i) v[i] = -v[i];
      }
      cuts.push_back({io::draw_heat_map(values, cut_height, cut_width), std::move(caption)});
    } else {
      cuts.push_back({Tensor::full({cut_height, cut_width, 3}, 128, DType::kU8), std::move(caption)});
    }
    if (cuts.size() == 5 || t + 1 == result.stages.size()) {
      add_row(rows, io::draw_side_by_side(cuts));
      cuts.clear();
    }
  }
  return stack(rows);
}

std::vector<std::byte> OverlayFiles::encode(const std::string& file_name, const std::function<Tensor()>& draw) {
  try {
    return io::encode_jpeg(draw(), 90);
  } catch (const Error& error) {
    const std::lock_guard lock(mutex_);
    if (failed_++ == 0) first_ = fmt::format("{}: {}", file_name, error.what());
    return {};
  }
}

void OverlayFiles::say(const Run& run) const {
  const std::lock_guard lock(mutex_);
  if (failed_ > 0)
    run.warn("{} pictures have no overlay, since it could not be made (their annotations are there): {}{}", failed_,
             first_, failed_ > 1 ? " ..." : "");
}

}  // namespace usol
