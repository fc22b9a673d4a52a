#include "usol/ops/rank_values.h"

#include <algorithm>
#include <numeric>

namespace usol {

std::vector<double> of_all_ranks(double value, Communicator* ranks) {
  if (!ranks || ranks->size() == 1) return {value};
  std::vector<double> values(static_cast<std::size_t>(ranks->size()));
  values[static_cast<std::size_t>(ranks->rank())] = value;
  Tensor all = Tensor::from(values, {ranks->size()});
  ranks->all_reduce_sum(all);
  return all.to_vector<double>();
}

std::vector<double> gather_values(const std::vector<double>& values, Communicator* ranks) {
  if (!ranks || ranks->size() == 1) return values;
  const std::vector<double> sizes = of_all_ranks(static_cast<double>(values.size()), ranks);
  const auto own = sizes.begin() + ranks->rank();
  std::vector<double> all(static_cast<std::size_t>(std::accumulate(sizes.begin(), sizes.end(), 0.0)));
  if (all.empty()) return all;
  std::copy(values.begin(), values.end(),
            all.begin() + static_cast<std::ptrdiff_t>(std::accumulate(sizes.begin(), own, 0.0)));
  Tensor tensor = Tensor::from(all, {static_cast<std::int64_t>(all.size())});
  ranks->all_reduce_sum(tensor);
  return tensor.to_vector<double>();
}

double sum_over_ranks(double value, Communicator* ranks) {
  const std::vector<double> values = of_all_ranks(value, ranks);
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double max_over_ranks(double value, Communicator* ranks) {
  const std::vector<double> values = of_all_ranks(value, ranks);
  return *std::max_element(values.begin(), values.end());
}

}  // namespace usol
