#include "usol/tensor/layout.h"

#include <algorithm>
#include <numeric>

#include "usol/tensor/check.h"
#include "usol/tensor/copy.h"

namespace usol {
namespace {

Shape channels_last_strides(const Shape& shape) {
  const std::int64_t c = shape[1], h = shape[2], w = shape[3];
  return {h * w * c, 1, w * c, c};
}

}  // namespace

bool is_channels_last(const Tensor& t) {
  if (t.rank() != 4) return false;
  const Shape strides = channels_last_strides(t.shape());
  for (int d = 0; d < 4; ++d)
    if (t.size(d) != 1 && t.strides()[d] != strides[d]) return t.numel() == 0;
  return true;
}

Tensor empty_channels_last(const Shape& shape, DType dtype, Device device) {
  check(shape.rank() == 4, "empty_channels_last: expected a shape [N, C, H, W], got {}", shape);
  return Tensor::empty(shape, dtype, device).as_strided(shape, channels_last_strides(shape), 0);
}

Tensor to_channels_last(const Tensor& t) {
  if (is_channels_last(t)) return t.as_strided(t.shape(), channels_last_strides(t.shape()), t.storage_offset());
  Tensor out = empty_channels_last(t.shape(), t.dtype(), t.device());
  copy_kernel(t.device(), t, out);
  return out;
}

Tensor channels_last_rows(const Tensor& t) {
  check(is_channels_last(t), "channels_last_rows: expected a channels-last map, got {} with strides {}", t.shape(),
        t.strides());
  return t.as_strided({t.size(0) * t.size(2) * t.size(3), t.size(1)}, {t.size(1), 1}, t.storage_offset());
}

std::vector<int> memory_order(const Tensor& t) {
  std::vector<int> order(static_cast<std::size_t>(t.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return t.strides()[a] > t.strides()[b]; });
  return order;
}

Tensor empty_like(const Tensor& t) {
  const Tensor fresh = Tensor::empty(t.shape(), t.dtype(), t.device());
  if (t.is_contiguous()) return fresh;
  const std::vector<int> order = memory_order(t);
  Shape strides = t.shape().row_major_strides();
  std::int64_t next = 1;
  for (auto d = order.rbegin(); d != order.rend(); ++d) {
    if (t.size(*d) == 1) continue;
    if (t.strides()[*d] != next) return fresh;
    strides[*d] = next;
    next *= t.size(*d);
  }
  return fresh.as_strided(t.shape(), strides, 0);
}

Tensor clone_like(const Tensor& t) {
  Tensor out = empty_like(t);
  copy_kernel(t.device(), t, out);
  return out;
}

}  // namespace usol
