#include "maskcut/permutohedral.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

#include "tensor/check.h"

namespace usol {
namespace {

constexpr int kMaxDims = 7;

// Open-addressing map from 64-bit keys to 0, 1, 2 ... in order of first insertion.
class KeyIndex {
 public:
  explicit KeyIndex(std::size_t expected) : slots_(std::bit_ceil(2 * expected + 16), Slot{0, -1}) {
    shift_ = 64 - std::countr_zero(slots_.size());
  }
  std::int32_t insert(std::uint64_t key) {
    if (2 * keys_.size() >= slots_.size()) grow();
    Slot& slot = locate(key);
    if (slot.index < 0) {
      slot = {key, static_cast<std::int32_t>(keys_.size())};
      keys_.push_back(key);
    }
    return slot.index;
  }
  std::int32_t find(std::uint64_t key) { return locate(key).index; }
  const std::vector<std::uint64_t>& keys() const { return keys_; }

 private:
  struct Slot {
    std::uint64_t key;
    std::int32_t index;
  };
  Slot& locate(std::uint64_t key) {
    std::size_t at = (key * 0x9E3779B97F4A7C15ull) >> shift_;
    while (slots_[at].index >= 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return slots_[at];
  }
  void grow() {
    slots_.assign(slots_.size() * 2, Slot{0, -1});
    --shift_;
    for (std::size_t i = 0; i < keys_.size(); ++i) locate(keys_[i]) = {keys_[i], static_cast<std::int32_t>(i)};
  }

  std::vector<Slot> slots_;
  std::vector<std::uint64_t> keys_;
  int shift_ = 0;
};

// A vertex of remainder r has coordinates (d + 1) q_i + r. Its key packs q_0 .. q_{d-1} (biased) and r; the last
// coordinate follows from the others.
struct KeyLayout {
  explicit KeyLayout(int dims) : bits(std::min(60 / dims, 30)) {
    for (int i = 0; i < dims; ++i) unit[static_cast<std::size_t>(i)] = std::uint64_t{8} << (bits * i);
    unit[static_cast<std::size_t>(dims)] = 0;
  }
  std::int64_t bias() const { return std::int64_t{1} << (bits - 1); }
  int bits;
  std::array<std::uint64_t, kMaxDims + 1> unit{};
};

// One point's simplex: the vertex keys and barycentric weights of its d + 1 corners.
class Embedding {
 public:
  explicit Embedding(int dims) : dims_(dims), layout_(dims) {
    const float deviation = static_cast<float>(std::sqrt(2.0 / 3.0) * (dims + 1));  // of the blur, in lattice units
    for (int i = 0; i < dims; ++i)
      scale_[static_cast<std::size_t>(i)] =
          static_cast<float>(1.0 / std::sqrt(static_cast<double>((i + 1) * (i + 2))) * deviation);
  }

  void operator()(const float* feature, std::int64_t index, std::uint64_t* keys, float* weights) const {
    const float down = 1.0f / static_cast<float>(dims_ + 1), up = static_cast<float>(dims_ + 1);
    std::array<float, kMaxDims + 1> elevated, cell, residual, sorted;
    std::array<int, kMaxDims + 1> rank{}, by_rank;
    // Position on the hyperplane sum(x) = 0 (Adams et al., p. 5).
    float sum = 0;
    for (int j = dims_; j > 0; --j) {
      const float scaled = feature[j - 1] * scale_[j - 1];
      elevated[j] = sum - static_cast<float>(j) * scaled;
      sum += scaled;
    }
    elevated[0] = sum;
    check(std::isfinite(sum) && std::abs(sum) * down < static_cast<float>(layout_.bias() - 2),
          "permutohedral: feature {} of point {} is not finite or too far from the others", dims_, index);
    // Nearest vertex of remainder 0, then the order of the residuals.
    int excess = 0;
    for (int i = 0; i <= dims_; ++i) {
      cell[i] = std::nearbyint(down * elevated[i]);
      excess += static_cast<int>(cell[i]);
      residual[i] = elevated[i] - cell[i] * up;
    }
    for (int i = 0; i < dims_; ++i)
      for (int j = i + 1; j <= dims_; ++j) ++rank[residual[i] < residual[j] ? i : j];
    // Rounding may have left the plane: move the coordinates that were rounded most the wrong way.
    std::uint64_t key = 0;
    for (int i = 0; i <= dims_; ++i) {
      rank[i] += excess;
      if (rank[i] < 0) {
        rank[i] += dims_ + 1;
        cell[i] += 1;
      } else if (rank[i] > dims_) {
        rank[i] -= dims_ + 1;
        cell[i] -= 1;
      }
      by_rank[rank[i]] = i;
      sorted[rank[i]] = (elevated[i] - cell[i] * up) * down;
      key += layout_.unit[i] * static_cast<std::uint64_t>(static_cast<std::int64_t>(cell[i]) + layout_.bias());
    }
    // Corner r has one more coordinate lowered than corner r - 1: that of rank d + 1 - r.
    weights[0] = sorted[dims_] + (1 - sorted[0]);
    keys[0] = key;
    for (int r = 1; r <= dims_; ++r) {
      weights[r] = sorted[dims_ - r] - sorted[dims_ - r + 1];
      key += 1 - layout_.unit[by_rank[dims_ - r + 1]];
      keys[r] = key;
    }
  }

  // The next vertex along `axis`: one up in every coordinate but that one, which goes d down.
  std::uint64_t next(std::uint64_t key, int axis) const {
    if (static_cast<int>(key & 7) < dims_) return key + 1 - layout_.unit[axis];
    key -= static_cast<std::uint64_t>(dims_);
    for (int i = 0; i < dims_; ++i)
      if (i != axis) key += layout_.unit[i];
    return key;
  }

 private:
  int dims_;
  KeyLayout layout_;
  std::array<float, kMaxDims> scale_{};
};

}  // namespace

Permutohedral::Permutohedral(std::span<const float> features, int dims) : dims_(dims) {
  check(dims >= 1 && dims <= kMaxDims, "permutohedral: expected 1 to {} dimensions, got {}", kMaxDims, dims);
  check(features.size() % static_cast<std::size_t>(dims) == 0,
        "permutohedral: {} feature values are not a multiple of {} dimensions", features.size(), dims);
  points_ = static_cast<std::int64_t>(features.size()) / dims;
  const int corners = dims + 1;
  vertex_of_.resize(static_cast<std::size_t>(points_ * corners));
  weight_of_.resize(vertex_of_.size());

  const Embedding embed(dims);
  KeyIndex index(static_cast<std::size_t>(points_));
  std::array<std::uint64_t, kMaxDims + 1> keys{};
  for (std::int64_t i = 0; i < points_; ++i) {
    embed(&features[static_cast<std::size_t>(i * dims)], i, keys.data(),
          &weight_of_[static_cast<std::size_t>(i * corners)]);
    for (int r = 0; r < corners; ++r) vertex_of_[static_cast<std::size_t>(i * corners + r)] = index.insert(keys[r]);
  }
  const std::size_t count = index.keys().size();
  neighbours_.assign(2 * count * static_cast<std::size_t>(corners), -1);
  for (int axis = 0; axis < corners; ++axis) {
    std::int32_t* pairs = &neighbours_[2 * count * static_cast<std::size_t>(axis)];
    for (std::size_t v = 0; v < count; ++v) {
      const std::int32_t next = index.find(embed.next(index.keys()[v], axis));
      if (next < 0) continue;
      pairs[2 * v + 1] = next;
      pairs[2 * static_cast<std::size_t>(next)] = static_cast<std::int32_t>(v);
    }
  }
}

void Permutohedral::filter(std::span<const float> in, std::span<float> out, int channels) const {
  check(channels >= 1 && in.size() == static_cast<std::size_t>(points_ * channels) && out.size() == in.size(),
        "permutohedral: expected {} x {} values in and out, got {} and {}", points_, channels, in.size(), out.size());
  const int corners = dims_ + 1;
  const std::int64_t count = vertices();
  // Vertex -1 is the missing neighbour: row 0 stays zero.
  std::vector<float> values(static_cast<std::size_t>((count + 1) * channels)), blurred(values.size());
  float* rows = values.data() + channels;
  for (std::int64_t i = 0; i < points_ * corners; ++i)
    for (int c = 0; c < channels; ++c)
      rows[vertex_of_[static_cast<std::size_t>(i)] * channels + c] +=
          weight_of_[static_cast<std::size_t>(i)] * in[static_cast<std::size_t>(i / corners * channels + c)];
  for (int axis = 0; axis < corners; ++axis) {
    const std::int32_t* pairs = neighbours_.data() + 2 * count * axis;
    const float* from = values.data() + channels;
    float* to = blurred.data() + channels;
    for (std::int64_t v = 0; v < count; ++v)
      for (int c = 0; c < channels; ++c)
        to[v * channels + c] = from[v * channels + c] + 0.5f * (from[std::int64_t{pairs[2 * v]} * channels + c] +
                                                                from[std::int64_t{pairs[2 * v + 1]} * channels + c]);
    values.swap(blurred);
  }
  const float alpha = 1.0f / (1.0f + std::exp2(static_cast<float>(-dims_)));  // gain of the blur
  rows = values.data() + channels;
  for (std::int64_t i = 0; i < points_; ++i)
    for (int c = 0; c < channels; ++c) {
      float sum = 0;
      for (int r = 0; r < corners; ++r)
        sum += weight_of_[static_cast<std::size_t>(i * corners + r)] *
               rows[vertex_of_[static_cast<std::size_t>(i * corners + r)] * channels + c] * alpha;
      out[static_cast<std::size_t>(i * channels + c)] = sum;
    }
}

}  // namespace usol
