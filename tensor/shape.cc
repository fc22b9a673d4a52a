#include "usol/tensor/shape.h"

#include <algorithm>
#include <limits>

#include "usol/tensor/check.h"

namespace usol {

Shape::Shape(std::span<const std::int64_t> sizes) {
  check(sizes.size() <= kMaxRank, "shape: at most {} dimensions, got {}", kMaxRank, sizes.size());
  rank_ = static_cast<int>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
}

int Shape::index(int dim) const {
  check(dim >= -rank_ && dim < rank_, "shape: dimension {} of {} is out of range", dim, *this);
  return dim < 0 ? dim + rank_ : dim;
}

std::int64_t Shape::numel() const {
  std::int64_t product = 1;
  for (std::int64_t size : *this) {
    check(size >= 0, "shape: negative size in {}", *this);
    check(size == 0 || product <= std::numeric_limits<std::int64_t>::max() / size,
          "shape: the element count of {} does not fit 64 bits", *this);
    product *= size;
  }
  return product;
}

void Shape::push_back(std::int64_t size) {
  check(rank_ < kMaxRank, "shape: at most {} dimensions", kMaxRank);
  sizes_[static_cast<std::size_t>(rank_++)] = size;
}

bool Shape::operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

Shape Shape::row_major_strides() const {
  Shape strides = *this;
  std::int64_t stride = 1;
  for (int d = rank_ - 1; d >= 0; --d) {
    strides[d] = stride;
    // Past 64 bits only where there is no element (numel() checks the others), so where no stride is used.
    if (__builtin_mul_overflow(stride, std::max<std::int64_t>((*this)[d], 1), &stride)) stride = 0;
  }
  return strides;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", ")); }

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int d = 0; d < rank; ++d) {
    const int da = d - (rank - a.rank()), db = d - (rank - b.rank());
    const std::int64_t sa = da < 0 ? 1 : a[da], sb = db < 0 ? 1 : b[db];
    check(sa == sb || sa == 1 || sb == 1, "{}: shapes {} and {} do not broadcast", op, a, b);
    out.push_back(sa == 1 ? sb : sa);
  }
  return out;
}

}  // namespace usol
