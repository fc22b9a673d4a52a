#pragma once
// Which neighbouring cells of a picture look alike: what FreeSOLO's pairwise loss goes by.
// Source: Tian et al. 2021, "BoxInst", section 3.2; the release's get_images_color_similarity.

#include <array>
#include <cstdint>
#include <vector>

#include "usol/models/detector.h"
#include "usol/tensor/tensor.h"

namespace usol::solov2 {

/// Pairs of cells, the second (dy, dx) from the first. Cells are those of the mask features, of four by four pixels.
struct PairDirection {
  std::int64_t dy, dx;
};
/// Half of the eight neighbours at a distance of two cells: the other half are the same pairs seen from the other side.
constexpr std::array<PairDirection, 4> kPairDirections{{{0, 2}, {2, -2}, {2, 0}, {2, 2}}};

/// For one direction: [N, h - |dy|, w - |dx|] f32 of 0 and 1, at the pair's upper left corner among the pairs inside
/// the map. Two cells are alike where exp(-|difference of Lab| / 2) is at least `alike`.
struct ColourPairs {
  Tensor from_first;   // alike, and the second cell counts: what the first one's object asks for
  Tensor from_second;  // alike, and the first cell counts
};

/// `pictures` u8 or f32 [H, W, 3] RGB on the CPU, as the network gets them before their colours are normalised;
/// `features`: the size of the mask features. Each cell is the mean of its pixels (zeros beyond the picture), rounded
/// down. A cell counts if its pixel (2, 2) is inside the picture and not in the lowest `bottom_px` rows of the file
/// that the picture was (`file_heights`, 0: the picture's own height). On `device`.
std::array<ColourPairs, kPairDirections.size()> colour_pairs(const std::vector<Tensor>& pictures,
                                                             const std::vector<std::int64_t>& file_heights,
                                                             const Size& features, double alike, std::int64_t bottom_px,
                                                             const Device& device);

/// CIE L*a*b* (D65, two degrees) of sRGB bytes, with the numbers of skimage's rgb2lab.
std::array<double, 3> lab_of(const std::array<std::uint8_t, 3>& rgb);

}  // namespace usol::solov2
