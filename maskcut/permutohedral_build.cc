// Building the permutohedral lattice: each point's simplex, the numbering of the vertices, and the runs of neighbours.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <span>

#include "usol/maskcut/permutohedral.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

constexpr int kMaxCorners = Permutohedral::kMaxDims + 1;

// A vertex of remainder r has coordinates (d + 1) q_i + r. Its key packs q_0 .. q_{d-1} (biased) and r; the last
// coordinate follows from the others.
struct KeyLayout {
  explicit KeyLayout(int dims_) : dims(dims_), bits(std::min(60 / dims_, 20)) {
    for (int i = 0; i < dims; ++i) unit[static_cast<std::size_t>(i)] = std::uint64_t{8} << (bits * i);
  }
  std::int32_t bias() const { return std::int32_t{1} << (bits - 1); }
  static int remainder(std::uint64_t key) { return static_cast<int>(key & 7); }
  // The next vertex along `axis`: one up in every coordinate but that one, which goes d down.
  std::uint64_t next(std::uint64_t key, int axis) const {
    if (remainder(key) < dims) return key + 1 - unit[static_cast<std::size_t>(axis)];
    key -= static_cast<std::uint64_t>(dims);
    for (int i = 0; i < dims; ++i)
      if (i != axis) key += unit[static_cast<std::size_t>(i)];
    return key;
  }
  int dims, bits;
  std::array<std::uint64_t, kMaxCorners> unit{};  // of q_i; 0 for the last coordinate
};

// Open-addressing map from keys to 0, 1, 2 ... in order of first insertion.
template <class Index>
class KeyIndex {
 public:
  explicit KeyIndex(std::size_t capacity) : slots_(std::bit_ceil(2 * capacity), kNone) {
    shift_ = 64 - std::countr_zero(slots_.size());
    keys_.reserve(capacity);
  }
  Index insert(std::uint64_t key) {
    const std::size_t at = locate(key);
    if (slots_[at] != kNone) return slots_[at];
    const Index index = static_cast<Index>(keys_.size());
    slots_[at] = index;
    keys_.push_back(key);
    if (2 * keys_.size() > slots_.size()) grow();
    return index;
  }
  // kNone for a key that was never inserted.
  Index find(std::uint64_t key) const { return slots_[locate(key)]; }
  const std::vector<std::uint64_t>& keys() const { return keys_; }

  static constexpr Index kNone = static_cast<Index>(-1);

 private:
  // The slot of the key, or the free one where it belongs.
  std::size_t locate(std::uint64_t key) const {
    std::size_t at = (key * 0x9E3779B97F4A7C15ull) >> shift_;
    while (slots_[at] != kNone && keys_[slots_[at]] != key) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  void grow() {
    slots_.assign(slots_.size() * 2, kNone);
    --shift_;
    for (std::size_t i = 0; i < keys_.size(); ++i) slots_[locate(keys_[i])] = static_cast<Index>(i);
  }

  std::vector<Index> slots_;
  std::vector<std::uint64_t> keys_;
  int shift_ = 0;
};

// The simplex of each of `count` points: its D + 1 vertex keys and barycentric weights, corner r of remainder r.
// Works on kLanes points side by side, in loops that the compiler turns into vectors.
template <int D>
void embed(const KeyLayout& layout, const float* features, std::int64_t first, std::int64_t count, std::uint64_t* keys,
           float* weights) {
  constexpr int kLanes = 16, kCorners = D + 1;
  constexpr float kUp = kCorners, kDown = 1.0f / kCorners;
  // Adding and subtracting it rounds to the nearest integer, ties to even, for magnitudes below 2^22.
  constexpr float kRound = 12582912.0f;
  const float deviation = static_cast<float>(std::sqrt(2.0 / 3.0) * kCorners);  // of the blur, in lattice units
  float scale[D];
  for (int i = 0; i < D; ++i)
    scale[i] = static_cast<float>(1.0 / std::sqrt(static_cast<double>((i + 1) * (i + 2))) * deviation);
  const float limit = static_cast<float>(layout.bias() - 2);

  float x[kCorners][kLanes], cell[kCorners][kLanes], residual[kCorners][kLanes], sum[kLanes];
  std::int32_t rank[kCorners][kLanes], q[kCorners][kLanes], excess[kLanes];
  for (std::int64_t start = 0; start < count; start += kLanes) {
    const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, count - start));
    // Position on the hyperplane sum(x) = 0 (Adams et al., p. 5).
    for (int l = 0; l < kLanes; ++l) sum[l] = 0;
    for (int j = D; j > 0; --j)
      for (int l = 0; l < kLanes; ++l) {
        const float scaled = features[(start + std::min(l, lanes - 1)) * D + j - 1] * scale[j - 1];
        x[j][l] = sum[l] - static_cast<float>(j) * scaled;
        sum[l] += scaled;
      }
    for (int l = 0; l < kLanes; ++l) x[0][l] = sum[l];
    // Nearest vertex of remainder 0, then the order of the residuals.
    for (int l = 0; l < kLanes; ++l) excess[l] = 0;
    for (int i = 0; i < kCorners; ++i) {
      for (int l = 0; l < lanes; ++l)
        check(std::abs(x[i][l] * kDown) < limit,  // false for NaN, too
              "permutohedral: point {} is not finite or too far from the origin", first + start + l);
      for (int l = 0; l < kLanes; ++l) {
        cell[i][l] = (x[i][l] * kDown + kRound) - kRound;
        residual[i][l] = x[i][l] - cell[i][l] * kUp;
        q[i][l] = static_cast<std::int32_t>(cell[i][l]);
        excess[l] += q[i][l];
        rank[i][l] = 0;
      }
    }
    for (int i = 0; i < D; ++i)
      for (int j = i + 1; j < kCorners; ++j)
        for (int l = 0; l < kLanes; ++l) {
          const std::int32_t less = residual[i][l] < residual[j][l] ? 1 : 0;
          rank[i][l] += less;
          rank[j][l] += 1 - less;
        }
    // Rounding may have left the plane: move the coordinates that were rounded most the wrong way.
    for (int i = 0; i < kCorners; ++i)
      for (int l = 0; l < kLanes; ++l) {
        const std::int32_t moved = rank[i][l] + excess[l];
        const std::int32_t shift = moved < 0 ? 1 : (moved > D ? -1 : 0);
        rank[i][l] = moved + shift * kCorners;
        q[i][l] += shift;
        residual[i][l] = (x[i][l] - static_cast<float>(q[i][l]) * kUp) * kDown;
      }
    // Corner r has one more coordinate lowered than corner r - 1: that of rank d + 1 - r.
    for (int l = 0; l < lanes; ++l, keys += kCorners, weights += kCorners) {
      float sorted[kCorners];
      std::uint64_t unit[kCorners], key = 0;
      for (int i = 0; i < kCorners; ++i) {
        sorted[rank[i][l]] = residual[i][l];
        unit[rank[i][l]] = layout.unit[i];
        key += layout.unit[i] * static_cast<std::uint64_t>(q[i][l] + layout.bias());
      }
      weights[0] = sorted[D] + (1 - sorted[0]);
      keys[0] = key;
      for (int r = 1; r < kCorners; ++r) {
        weights[r] = sorted[D - r] - sorted[D - r + 1];
        key += 1 - unit[D - r + 1];
        keys[r] = key;
      }
    }
  }
}

constexpr std::array kEmbed = {embed<1>, embed<2>, embed<3>, embed<4>, embed<5>, embed<6>, embed<7>};

constexpr std::int32_t kPiece = 4096;  // indices in a piece of work, at least

}  // namespace

// While building: the vertices by remainder, each class with its own numbers, and their final numbers.
struct Permutohedral::Vertices {
  explicit Vertices(int dims)
      : layout(dims), classes(static_cast<std::size_t>(dims + 1), KeyIndex<std::uint32_t>(1024)) {}
  KeyLayout layout;
  std::vector<std::vector<std::uint64_t>> block_keys;  // the distinct vertices of each block in order of first use
  std::vector<KeyIndex<std::uint32_t>> classes;
  std::vector<std::vector<std::int32_t>> number;
};

Permutohedral::Permutohedral(std::span<const float> features, int dims) : dims_(dims) {
  check(dims >= 1 && dims <= kMaxDims, "permutohedral: expected 1 to {} dimensions, got {}", kMaxDims, dims);
  check(features.size() % static_cast<std::size_t>(dims) == 0,
        "permutohedral: {} feature values are not a multiple of {} dimensions", features.size(), dims);
  points_ = static_cast<std::int64_t>(features.size()) / dims;
  check(points_ * (dims + 1) < (std::int64_t{1} << 31), "permutohedral: {} points are too many", points_);
  Vertices vertices(dims);
  find_simplices(features, vertices);
  number_vertices(vertices);
  collect_slots();
  find_runs(vertices);
}

// Each point's weights and vertices, and the slots of each block.
void Permutohedral::find_simplices(std::span<const float> features, Vertices& vertices) {
  const int corners = dims_ + 1;
  const std::int64_t block_count = (points_ + kBlock - 1) / kBlock;
  corner_.resize(static_cast<std::size_t>(points_ * corners));
  weight_.resize(corner_.size());
  slot_begin_.assign(static_cast<std::size_t>(block_count + 1), 0);
  vertices.block_keys.resize(static_cast<std::size_t>(block_count));
  parallel_for_each(0, block_count, [&](std::int64_t block) {
    const std::int64_t first = block_begin(block), count = block_end(block) - first;
    std::vector<std::uint64_t> keys(static_cast<std::size_t>(count * corners));
    kEmbed[dims_ - 1](vertices.layout, features.data() + first * dims_, first, count, keys.data(),
                      &weight_[first * corners]);
    KeyIndex<std::uint16_t> index(4096);
    for (std::size_t i = 0; i < keys.size(); ++i)
      corner_[static_cast<std::size_t>(first * corners) + i] = index.insert(keys[i]);
    vertices.block_keys[block] = index.keys();
  });
  for (std::int64_t block = 0; block < block_count; ++block)
    slot_begin_[block + 1] = slot_begin_[block] + static_cast<std::int32_t>(vertices.block_keys[block].size());
}

// Makes one vertex of the slots that have the same key.
void Permutohedral::number_vertices(Vertices& vertices) {
  slot_vertex_.resize(static_cast<std::size_t>(slot_begin_.back()));
  parallel_for_each(0, dims_ + 1, [&](std::int64_t r) {
    std::size_t slot = 0;
    for (const auto& keys : vertices.block_keys)
      for (const std::uint64_t key : keys) {
        if (KeyLayout::remainder(key) == r)
          slot_vertex_[slot] = static_cast<std::int32_t>(vertices.classes[r].insert(key));
        ++slot;
      }
  });
  // Final numbers in order of first use: the corners of a simplex, which are neighbours, come one after the other.
  for (const auto& index : vertices.classes) vertices.number.emplace_back(index.keys().size(), -1);
  std::size_t slot = 0;
  for (const auto& keys : vertices.block_keys)
    for (const std::uint64_t key : keys) {
      std::int32_t& v = vertices.number[KeyLayout::remainder(key)][slot_vertex_[slot]];
      if (v < 0) v = static_cast<std::int32_t>(vertices_++);
      slot_vertex_[slot++] = v;
    }
}

// The slots of each vertex, in block order.
void Permutohedral::collect_slots() {
  if (vertices_ == 0) return;
  std::vector<std::int32_t> at(static_cast<std::size_t>(vertices_) + 1);
  for (const std::int32_t v : slot_vertex_) ++at[v + 1];
  for (std::int64_t v = 0; v < vertices_; ++v) {
    at[v + 1] += at[v];
    if (slots_.pieces.empty() || at[v] - slots_.pieces.back() >= kPiece) {
      slots_.pieces.push_back(at[v]);
      first_vertex_.push_back(static_cast<std::int32_t>(v));
    }
  }
  slots_.pieces.push_back(at[vertices_]);
  slots_.indices.resize(slot_vertex_.size());
  for (std::size_t s = 0; s < slot_vertex_.size(); ++s)
    slots_.indices[at[slot_vertex_[s]]++] = static_cast<std::int32_t>(s);
  for (std::int64_t v = 0; v < vertices_; ++v) slots_.indices[at[v] - 1] = ~slots_.indices[at[v] - 1];
}

// The runs of each axis: every vertex with someone ahead and no one behind starts one.
void Permutohedral::find_runs(const Vertices& vertices) {
  const std::size_t corners = static_cast<std::size_t>(dims_ + 1), count = static_cast<std::size_t>(vertices_);
  std::vector<std::vector<std::int32_t>> ahead(corners, std::vector<std::int32_t>(count));
  for (std::size_t r = 0; r < corners; ++r) {
    const auto& keys = vertices.classes[r].keys();
    const auto& next_class = vertices.classes[(r + 1) % corners];  // one step along an axis adds 1 to the remainder
    const auto &number = vertices.number[r], &next_number = vertices.number[(r + 1) % corners];
    parallel_for(0, static_cast<std::int64_t>(keys.size()), 1024, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::size_t axis = 0; axis < corners; ++axis) {
          const std::uint32_t found = next_class.find(vertices.layout.next(keys[i], static_cast<int>(axis)));
          ahead[axis][number[i]] = found == next_class.kNone ? -1 : next_number[found];
        }
    });
  }
  runs_.resize(corners);
  parallel_for_each(0, static_cast<std::int64_t>(corners), [&](std::int64_t axis) {
    const auto& next = ahead[axis];
    std::vector<std::uint8_t> has_behind(count);
    for (const std::int32_t v : next)
      if (v >= 0) has_behind[v] = 1;
    auto& [indices, pieces] = runs_[axis];
    indices.reserve(count);
    for (std::size_t v = 0; v < count; ++v) {
      if (has_behind[v] || next[v] < 0) continue;
      const auto size = static_cast<std::int32_t>(indices.size());
      if (pieces.empty() || size - pieces.back() >= kPiece) pieces.push_back(size);
      std::int32_t last = static_cast<std::int32_t>(v);
      for (; next[last] >= 0; last = next[last]) indices.push_back(last);
      indices.push_back(~last);
    }
    if (!indices.empty()) pieces.push_back(static_cast<std::int32_t>(indices.size()));
  });
}

}  // namespace usol::maskcut
