#pragma once
// RoIAlign: a fixed-size feature map for every box, from one map or from the levels of a pyramid.

#include <cstdint>
#include <vector>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

struct RoiAlignOptions {
  std::int64_t height = 7, width = 7;  // bins
  std::int64_t sampling_ratio = 0;     // points per bin and axis; 0: ceil(box / bins), in cells
  bool aligned = true;                 // pixel centres at .5 (Detectron2's ROIAlignV2)
  bool channels_last = false;          // the result lies in memory as [R, height, width, C], for convolutions
};

/// features [N, C, H, W] and rois [R, 5] (image index, x0, y0, x1, y1 in pixels) -> [R, C, height, width]: each bin the
/// mean of bilinear samples; `scale` is cells per pixel. Samples more than a cell outside the map are 0; boxes of no
/// size have no samples, so 0; boxes with coordinates that are not finite, or of more than 2^20 cells a bin, give NaN.
/// rois are f32 (f64 with f64 features); f16 and bf16 features are averaged in f32. Gradient to the features only, the
/// same bits in every run. Fastest for features that lie in memory as [N, H, W, C]. Throws Error on other shapes and
/// dtypes; on the CPU for an image index outside [0, N). Source: He et al. 2017, "Mask R-CNN", sec. 3. Equals
/// torchvision's roi_align.
Tensor roi_align(const Tensor& features, const Tensor& rois, double scale, const RoiAlignOptions& options = {});

/// From a pyramid: box r is pooled from levels[level[r]] (i64 [R]) with scales[level[r]]. The levels share N, C, dtype.
/// Gradients to all levels. Throws Error for a level outside of the list too.
Tensor roi_align(const std::vector<Tensor>& levels, const std::vector<double>& scales, const Tensor& rois,
                 const Tensor& level, const RoiAlignOptions& options = {});

/// features [N, H, W, C] and rois [R, 5] dense, out [R, C, P, Q] with any strides. Fills out[r] for the r in `rows`
/// (i64 [m]).
extern Kernel<void(const Tensor& features, const Tensor& rois, const Tensor& rows, double scale,
                   const RoiAlignOptions& options, Tensor& out)>
    roi_align_kernel;
/// Adds the gradients of the rows' bins to grad_in [N, H, W, C] (dense, f32 or f64), box by box in the order of `rows`.
/// grad_out [R, C, P, Q], of the features' dtype, any strides.
extern Kernel<void(const Tensor& grad_out, const Tensor& rois, const Tensor& rows, double scale,
                   const RoiAlignOptions& options, Tensor& grad_in)>
    roi_align_grad_kernel;

}  // namespace usol
