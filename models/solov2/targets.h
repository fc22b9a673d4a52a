#pragma once
// What SOLOv2 is to say of a batch: which cells of which level learn which object.
// Source: Wang et al. 2020, section 3.1; AdelaiDet's get_ground_truth, and its add_bitmasks_from_boxes for BoxInst.

#include <cstdint>
#include <vector>

#include "usol/models/detector.h"
#include "usol/models/solov2/config.h"

namespace usol::solov2 {

/// The targets of one level, S x S cells a picture. Objects stand in the pictures' order; R rows, one for each cell of
/// each object.
struct LevelTargets {
  Tensor classes;                  // i64 [N S S], `background` where no object is
  Tensor embeddings;               // [N S S, E] f32; undefined where no truth has them
  Tensor masks;                    // u8 [M, h, w] of the objects of this level, at the mask features' size; or boxes
  Tensor mask_of;                  // i64 [R], a row's mask
  Tensor cell_of;                  // i64 [R], a row's cell among all N S S
  std::vector<std::int64_t> rows;  // of each picture; they add up to R

  std::int64_t size() const { return mask_of.numel(); }
};

/// `pictures`: their sizes; `features`: the size of the mask features, a quarter of the padded pictures. Masks, which
/// may be larger than their picture, are cut to it. Objects without pixels are left out. Cells that two objects want
/// belong to the later one, but both learn their masks there. With BoxInst's losses a box stands for its object: filled
/// where the pixel (2, 2) of a cell lies in it, its centre for the centre of mass, and masks are not looked at. The
/// result is on `device`. Throws Error on truths without masks, but for BoxInst's losses, and on a class beyond
/// `background`.
std::vector<LevelTargets> make_targets(const std::vector<detection::Truths>& truths, const std::vector<Size>& pictures,
                                       const Size& features, const Config& config, const Device& device);

/// A mask (u8, 0 and 1) at a quarter of its size, rounded half up: [h, w] from [H, W] with rows `stride` apart;
/// bilinear in the fixed-point arithmetic of OpenCV's resize for 8 bits, whose rounding decides pixels that are half
/// covered.
std::vector<std::uint8_t> quarter_mask(const std::uint8_t* mask, const Size& size, std::int64_t stride);

}  // namespace usol::solov2
