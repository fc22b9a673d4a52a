#include "usol/models/solov2/levels.h"

#include "usol/ops/interpolate.h"
#include "usol/tensor/check.h"

namespace usol::solov2 {

std::vector<Tensor> instance_levels(const std::vector<Tensor>& maps) {
  check(maps.size() == 5, "solov2: expected maps p2 ... p6, got {}", maps.size());
  std::vector<Tensor> levels = maps;
  levels[0] = interpolate(maps[0], maps[0].size(2) / 2, maps[0].size(3) / 2);
  levels[4] = interpolate(maps[4], maps[3].size(2), maps[3].size(3));
  return levels;
}

Tensor coordinates(const Tensor& like) {
  const std::int64_t n = like.size(0), h = like.size(2), w = like.size(3);
  Tensor out = Tensor::empty({1, 2, h, w});
  float* to = out.mutable_data<float>();
  // A map of one cell has its coordinate at -1, as in the public code.
  const auto place = [](std::int64_t i, std::int64_t size) {
    return size == 1 ? -1.0f : static_cast<float>(-1 + 2 * static_cast<double>(i) / static_cast<double>(size - 1));
  };
  for (std::int64_t y = 0; y < h; ++y) {
    for (std::int64_t x = 0; x < w; ++x) {
      to[y * w + x] = place(x, w);
      to[(h + y) * w + x] = place(y, h);
    }
  }
  return out.to(like.dtype()).to(like.device()).expand({n, 2, h, w});
}

}  // namespace usol::solov2
