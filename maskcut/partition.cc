#include "usol/maskcut/partition.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/maskcut/components.h"
#include "usol/maskcut/ncut.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {

Partition partition(const Tensor& x, Preset preset) {
  check(x.rank() == 2 && x.dtype() == DType::kF64 && x.numel() > 0, "partition: expected f64 [h, w], got {} {}",
        x.dtype(), x.shape());
  const std::int64_t height = x.size(0), width = x.size(1);
  std::vector<double> values = x.to_vector<double>();
  std::vector<double> magnitudes(values.size());
  double mean = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    mean += values[i];
    magnitudes[i] = std::abs(values[i]);
  }
  mean /= static_cast<double>(values.size());

  Partition result;
  result.foreground = Tensor::zeros({height, width}, DType::kU8);
  std::uint8_t* foreground = result.foreground.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < values.size(); ++i)
    foreground[i] = preset == Preset::kPaper ? values[i] >= mean : values[i] > mean;

  const std::int64_t last_row = (height - 1) * width;
  const int corners = foreground[0] + foreground[width - 1] + foreground[last_row] + foreground[last_row + width - 1];
  const bool holds_peak = foreground[argmax(magnitudes)] != 0;
  result.complemented = !holds_peak || corners >= (preset == Preset::kPaper ? 2 : 3);
  if (result.complemented) {
    std::transform(foreground, foreground + values.size(), foreground, [](std::uint8_t v) { return 1 - v; });
    for (double& value : values) value = -value;
  }
  result.seed = argmax(values);
  result.object = component_of(result.foreground, result.seed);
  return result;
}

}  // namespace usol::maskcut
