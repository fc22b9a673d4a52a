#include "ops/rank_values.h"

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

double sum_over_ranks(double value, Communicator* ranks) {
  const std::vector<double> values = of_all_ranks(value, ranks);
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double max_over_ranks(double value, Communicator* ranks) {
  const std::vector<double> values = of_all_ranks(value, ranks);
  return *std::max_element(values.begin(), values.end());
}

}  // namespace usol
