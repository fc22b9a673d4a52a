#pragma once
// Permutohedral lattice: Gaussian filtering of N points with d-dimensional positions in time linear in N.
// It is the filter of the dense CRF (crf.h). Positions are embedded in a lattice of simplices; values are splatted to
// the vertices, blurred along the d + 1 lattice axes and sliced back.
//
// Source: Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", 2010.

#include <cstdint>
#include <span>
#include <vector>

namespace usol {

class Permutohedral {
 public:
  /// Builds the lattice of the points `features` ([N, dims] row-major, in units of the Gaussian's sigma).
  /// Throws Error if dims is not 1..7, the sizes do not fit, a feature is not finite, or features span more lattice
  /// cells than a vertex key can hold.
  Permutohedral(std::span<const float> features, int dims);

  std::int64_t points() const { return points_; }
  std::int64_t vertices() const { return static_cast<std::int64_t>(neighbours_.size()) / (2 * (dims_ + 1)); }

  /// out[i] = sum_j k(f_i, f_j) in[j] for every channel, with the lattice's unnormalised Gaussian k (blur weights 1/2,
  /// 1, 1/2 along each axis in order; vertices that no point touches count as 0). `in` and `out` are [N, channels] and
  /// may be the same memory.
  void filter(std::span<const float> in, std::span<float> out, int channels) const;

 private:
  std::int64_t points_ = 0;
  int dims_ = 0;
  std::vector<std::int32_t> vertex_of_;   // [N, dims + 1]
  std::vector<float> weight_of_;          // [N, dims + 1], barycentric
  std::vector<std::int32_t> neighbours_;  // [dims + 1, M, 2], -1 where there is none
};

}  // namespace usol
