#pragma once
// FreeSOLO's free masks: every cell of a dense network's map asks which others resemble it, at three scales; the
// answers are soft masks, the purest of which are kept. Source: Wang et al. 2022, "FreeSOLO: Learning to Segment
// Objects without Annotations", section 3.1, and its public code, where the paper gives no numbers.

#include <array>
#include <cstdint>
#include <vector>

#include "usol/tensor/size.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// The defaults are the public code's.
struct FreeMaskOptions {
  std::vector<double> scales{1, 0.5, 0.25};  // of the maps that the queries are taken from; above 0, at most 1
  double threshold = 0.5;                    // soft masks are cut from here on
  double sigma = 2;                          // of the matrix NMS
  std::int64_t most = 20;                    // masks that stay after it, before the next three rules
  double least_maskness = 0.7;               // after the NMS
  double top_share = 0.2;                    // of the picture's height: masks centred there are dropped; 0: none
  double widest_share = 0.95;                // of the picture's width: masks as wide or wider are dropped
};

/// The queries of a map, scale by scale, row by row.
struct FreeMaskQueries {
  Tensor vectors;  // f32 [Q, C], each of length 1 (or 0 where the map is 0)
  Tensor soft;     // f32 [Q, h, w]: the cosines with each cell, stretched to 0 ... 1; 0 where they are all the same
};
/// features: f32 [C, h, w], finite, on the CPU. A scale that leaves no cell has no queries. Throws Error on others, on
/// scales outside of (0, 1], and on more than 5000 cells, whose pairs would take gigabytes.
FreeMaskQueries free_mask_queries(const Tensor& features, const std::vector<double>& scales);

/// A mask on the map's grid.
struct FreeMaskCandidate {
  std::int64_t query = 0;
  double maskness = 0;  // mean of the soft mask within the mask, after the NMS
};
/// The best `most` after matrix NMS, by falling maskness; of equal ones those first that were better before it, then by
/// query. Masks of fewer than two cells are none.
std::vector<FreeMaskCandidate> free_mask_candidates(const FreeMaskQueries& queries, const FreeMaskOptions& options);

struct FreeMask {
  Tensor mask;                      // u8 [H, W] of 0/1, not empty
  double maskness = 0;              // after the NMS
  std::array<double, 4> corners{};  // x0 y0 x1 y1 as the public code has them: the mean of the touched columns (rows),
                                    // counted from 0, less and plus half their number
  std::vector<float> embedding;     // the query's vector, resampled to 128 numbers
};
struct FreeMasks {
  std::vector<FreeMask> masks;  // by falling maskness
  Tensor soft;                  // f32 [H, W]: the largest of their soft masks; 0 without any
};
/// The masks of a picture, over the whole of which the map is stretched. Throws Error as free_mask_queries().
FreeMasks free_masks(const Tensor& features, const Size& picture, const FreeMaskOptions& options = {});

/// C numbers as 128: bilinear along the one axis, half-pixel centres, no corner alignment.
std::vector<float> free_mask_embedding(const Tensor& vector);

}  // namespace usol::maskcut
