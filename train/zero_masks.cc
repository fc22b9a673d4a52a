#include "usol/train/zero_masks.h"

#include <sys/mman.h>

namespace usol::train {
namespace {

constexpr std::size_t kWorthPages = std::size_t{4} << 20;  // bytes; fewer are cleared faster than they are mapped

}  // namespace

Tensor zero_masks(std::int64_t count, std::int64_t height, std::int64_t width) {
  const Shape shape{count, height, width};
  const auto bytes = static_cast<std::size_t>(shape.numel());
  if (bytes < kWorthPages) return Tensor::zeros(shape, DType::kU8);
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return Tensor::zeros(shape, DType::kU8);  // from the blocks kept for reuse, or its error
  ::madvise(data, bytes, MADV_NOHUGEPAGE);  // a small object would fill huge ones; a kernel without them refuses
  return Tensor::borrow(data, shape, DType::kU8, [data, bytes] { ::munmap(data, bytes); });
}

}  // namespace usol::train
