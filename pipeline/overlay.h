#pragma once
// What was found in a picture, as a picture: masks and boxes above, what they were made of below.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "usol/maskcut/maskcut.h"
#include "usol/pipeline/run.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// u8 [h, w, 3]: the picture (u8 [H, W, 3], 480 to 720 px wide, narrower if it were more than 2880 px high) with its
/// masks, and a row with the eigenvector of each cut as a heat map (dark: background) and what became of the cut.
Tensor draw_maskcut(const Tensor& image, const maskcut::MaskCutResult& result);

/// u8 [h, w, 3]: the picture, in that size, with masks (u8 [H, W]) and their boxes, and below it `soft` (floating
/// [H, W], may be undefined) as a heat map.
Tensor draw_masks(const Tensor& image, const std::vector<Tensor>& masks, const Tensor& soft = {});

/// The overlays of a job as files. A picture whose overlay cannot be made keeps its annotations: it has none.
class OverlayFiles {
 public:
  /// The JPEG of what `draw` returns; empty if that, or the encoding, throws Error. From any thread.
  std::vector<std::byte> encode(const std::string& file_name, const std::function<Tensor()>& draw);
  /// Warns of those that could not be made.
  void say(const Run& run) const;

 private:
  mutable std::mutex mutex_;
  std::int64_t failed_ = 0;
  std::string first_ = {};  // of them, and why
};

}  // namespace usol
