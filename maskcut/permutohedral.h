#pragma once
// Permutohedral lattice: Gaussian filtering of N points with d-dimensional positions in time linear in N.
// It is the filter of the dense CRF (crf.h). Positions are embedded in a lattice of simplices; values are splatted to
// the vertices, blurred along the d + 1 lattice axes and sliced back.
//
// Points are handled in blocks of kBlock consecutive ones. A block splats into rows of its own, which are then summed
// per vertex in block order: threads never meet in one row, and no sum depends on their number. Points that are near
// each other should be near in order, so that a block touches few vertices.
//
// Source: Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", 2010.

#include <cstdint>
#include <span>
#include <vector>

namespace usol::maskcut {

class Permutohedral {
 public:
  static constexpr std::int64_t kBlock = 4096;  // corners are counted in 16 bits: at most 65536 / (dims + 1)
  static constexpr int kMaxDims = 7;

  /// Builds the lattice of the points `features` ([N, dims] row-major, in units of the Gaussian's sigma).
  /// Throws Error if dims is not 1..7, the sizes do not fit, a feature is not finite, or a point is too far from the
  /// origin for a vertex key (beyond some 3500 sigma for 5 dimensions).
  Permutohedral(std::span<const float> features, int dims);

  std::int64_t points() const { return points_; }
  std::int64_t vertices() const { return vertices_; }
  std::int64_t blocks() const { return static_cast<std::int64_t>(slot_begin_.size()) - 1; }
  std::int64_t block_begin(std::int64_t block) const { return block * kBlock; }
  std::int64_t block_end(std::int64_t block) const { return block + 1 < blocks() ? (block + 1) * kBlock : points_; }

  int dims() const { return dims_; }
  /// [N, dims + 1]: barycentric weights of each point's corners, times scale()'s factors.
  std::span<const float> weights() const { return weight_; }
  /// What a sliced sum is multiplied with.
  float gain() const;
  /// The lattice as lists to gather from, for a device on which every thread makes a sum of its own.
  struct Lists {
    std::vector<std::int32_t> vertex;      // [N, dims + 1]: the vertex of each corner
    std::vector<std::int32_t> slot_begin;  // [slots + 1]: where a slot's corners begin ...
    std::vector<std::int32_t> corner;      // ... in this list of corners (point * (dims + 1) + r), ascending in a slot
    std::vector<std::int32_t> vertex_begin;   // [vertices + 1]: where a vertex's slots begin ...
    std::vector<std::int32_t> slot;           // ... in this list of slots
    std::vector<std::int32_t> behind, ahead;  // [dims + 1, vertices]: neighbours along each axis, -1 for none
  };
  Lists lists() const;

  /// out[i] = sum_j k(f_i, f_j) in[j] for every channel, with the lattice's unnormalised Gaussian k (blur weights 1/2,
  /// 1, 1/2 along each axis in order; vertices that no point touches count as 0). `in` and `out` are [N, channels] and
  /// may be the same memory.
  void filter(std::span<const float> in, std::span<float> out, int channels) const;

  /// From now on the kernel is factors[i] k(f_i, f_j) factors[j]; `factors` is [N].
  void scale(std::span<const float> factors);

 private:
  template <int C>
  friend class LatticePass;
  struct Vertices;  // while building

  void find_simplices(std::span<const float> features, Vertices& vertices);
  void number_vertices(Vertices& vertices);
  void collect_slots();
  void find_runs(const Vertices& vertices);

  std::int64_t points_ = 0;
  int dims_ = 0;
  // A slot is one vertex of one block: row slot_begin_[block] + corner_ of the partial sums.
  std::vector<std::uint16_t> corner_;      // [N, dims + 1]
  std::vector<float> weight_;              // [N, dims + 1], barycentric, scaled
  std::vector<std::int32_t> slot_begin_;   // [blocks + 1]
  std::vector<std::int32_t> slot_vertex_;  // [slots]
  // Lists of indices in which the last of a group is stored as ~index, cut into pieces of work at group ends.
  struct Groups {
    std::vector<std::int32_t> indices;
    std::vector<std::int32_t> pieces;  // where pieces begin, and the end; empty if there are no indices
  };
  std::vector<std::int32_t> first_vertex_;  // of each piece of slots_
  Groups slots_;                            // the slots of each vertex, in block order
  // Per axis, the runs of at least two consecutive vertices. A vertex that is in none has no neighbours: the blur
  // leaves it as it is.
  std::vector<Groups> runs_;  // [dims + 1]
  std::int64_t vertices_ = 0;
};

/// One filter of C channels (1, 2 or 4) in steps, so that a caller can fuse work on a block between slicing and the
/// next splatting: splat every block, blur once, add_slice every block. Blocks may be handled in parallel.
template <int C>
class LatticePass {
 public:
  explicit LatticePass(const Permutohedral& lattice);
  /// Takes in[points of the block, C].
  void splat(std::int64_t block, const float* in);
  /// Sums what the blocks splatted, and blurs. Runs on all threads.
  void blur();
  /// out[points of the block, C] += the filtered values. The block's splat is overwritten.
  void add_slice(std::int64_t block, float* out);

 private:
  const Permutohedral& lattice_;
  std::vector<float> rows_;     // [vertices, C]
  std::vector<float> partial_;  // [slots, C]
};

}  // namespace usol::maskcut
