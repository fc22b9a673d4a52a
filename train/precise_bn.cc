#include "usol/train/precise_bn.h"

#include <algorithm>
#include <string>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/nn/norm.h"
#include "usol/tensor/check.h"

namespace usol::train {

bool precise_batch_norm(const Detector& model, const ParamStore& store, std::int64_t batches,
                        const std::function<std::vector<Sample>()>& next, const std::function<bool()>& stop,
                        Communicator* ranks) {
  const NoGrad no_grad;
  // Frozen ones keep their statistics, and their weights are no parameters.
  const auto is_learned = [&](const std::string& name) {
    const std::string ending = "running_mean";
    if (!name.ends_with("." + ending)) return false;
    const std::string weight = name.substr(0, name.size() - ending.size()) + "weight";
    return store.entries().at(weight).kind == ParamStore::Kind::kParameter;
  };
  const std::vector<std::string>& names = store.names();
  const auto norms = std::count_if(names.begin(), names.end(), is_learned);
  if (norms == 0 || batches == 0) return true;
  nn::NormStatistics statistics;
  for (std::int64_t i = 0; i < batches; ++i) {
    if (stop()) return false;
    std::vector<Tensor> pictures;
    for (const Sample& sample : next()) pictures.push_back(sample.image);
    model.run_norms(pictures, {.training = true, .ranks = ranks, .statistics = &statistics});
  }
  check(statistics.size() == norms, "precise batch norm: the detector has run {} of its {} norms", statistics.size(),
        norms);
  statistics.store();
  return true;
}

}  // namespace usol::train
