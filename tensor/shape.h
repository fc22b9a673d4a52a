#pragma once
// Sizes (or strides) of a tensor: up to kMaxRank integers held in place, without a heap allocation.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace usol {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  /// Throws Error if there are more than kMaxRank sizes.
  explicit Shape(std::span<const std::int64_t> sizes);

  int rank() const { return rank_; }
  /// Size of dimension `dim`; negative counts from the back. Throws Error out of range.
  std::int64_t operator[](int dim) const { return sizes_[index(dim)]; }
  std::int64_t& operator[](int dim) { return sizes_[index(dim)]; }
  /// Product of the sizes; 1 for a scalar. Throws Error on overflow of 64 bits.
  std::int64_t numel() const;
  const std::int64_t* begin() const { return sizes_.data(); }
  const std::int64_t* end() const { return sizes_.data() + rank_; }
  void push_back(std::int64_t size);
  bool operator==(const Shape& other) const;

  /// Maps a dimension in [-rank, rank) to [0, rank). Throws Error out of range.
  int index(int dim) const;
  /// Strides, in elements, of a dense row-major tensor of this shape.
  Shape row_major_strides() const;

 private:
  std::array<std::int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

/// "[2, 3]"; "[]" for a scalar.
std::string to_string(const Shape& shape);
/// NumPy's broadcasting rule. Throws Error naming `op` and both shapes when they do not fit.
Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op);

}  // namespace usol
