#pragma once
// Which truth each box belongs to, by overlap.

#include <cstdint>

#include "usol/tensor/tensor.h"

namespace usol::rcnn {

inline constexpr std::int64_t kIgnored = -1, kNegative = 0, kPositive = 1;

struct MatcherOptions {
  /// Overlap below `low` is negative, from `high` on positive, between them ignored.
  double low = 0.5, high = 0.5;
  /// The boxes that overlap a truth most (ties included) are positive whatever the overlap. It sets the label only:
  /// the matched truth stays the box's own best.
  bool low_quality = false;
};

struct Matches {
  Tensor truth;  // i64 [N], the truth that overlaps most, the lowest index of equals; 0 without truths
  Tensor label;  // i64 [N]: kIgnored, kNegative or kPositive
};

/// iou [G, N] of truths and boxes. Without truths all boxes are negative.
/// Source: Ren et al. 2015, sec. 3.1.2; Detectron2's Matcher.
Matches match(const Tensor& iou, const MatcherOptions& options);
/// The same for truths [G, 4] and boxes [N, 4], x0 y0 x1 y1 in pixels. On the CPU the overlaps are never all in memory
/// at once, and truths far from a row of boxes are left out: with hundreds of truths nearly all overlaps are 0.
Matches match_boxes(const Tensor& truths, const Tensor& boxes, const MatcherOptions& options);

}  // namespace usol::rcnn
