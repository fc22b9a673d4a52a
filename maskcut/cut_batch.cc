#include "usol/maskcut/cut_batch.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {

std::vector<PictureCuts> cut_features_batch(const Tensor& features, std::span<const Size> frames,
                                            std::span<const MaskCutOptions> options) {
  check(features.defined() && features.rank() == 4 && features.dtype() == DType::kF32 && features.numel() > 0,
        "maskcut: expected f32 features [N, D, h, w], got {}",
        features.defined() ? fmt::format("{} {}", features.dtype(), features.shape()) : "nothing");
  const std::int64_t count = features.size(0);
  check(static_cast<std::int64_t>(frames.size()) == count && static_cast<std::int64_t>(options.size()) == count,
        "maskcut: expected {} frames and options, got {} and {}", count, frames.size(), options.size());
  for (std::size_t i = 0; i < frames.size(); ++i) check_cut_arguments(frames[i], options[i]);
  const Size grid{features.size(2), features.size(3)};
  std::vector<PictureCuts> outcomes(frames.size());
  std::vector<std::optional<CutStages>> stages(frames.size());
  // Runs work(i) of the chosen pictures on all threads; a picture's error is its own.
  const auto for_pictures = [&](const std::vector<std::size_t>& chosen, const auto& work) {
    parallel_for_each(0, static_cast<std::int64_t>(chosen.size()), [&](std::int64_t k) {
      const std::size_t i = chosen[static_cast<std::size_t>(k)];
      try {
        work(i, static_cast<std::size_t>(k));
      } catch (...) {
        outcomes[i].error = std::current_exception();
      }
    });
  };
  std::vector<std::size_t> all(frames.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  {
    GraphBatch graphs = patch_graphs(features.reshape({count, features.size(1), grid.height * grid.width}),
                                     affinity_options(options[0]));
    for_pictures(all, [&](std::size_t i, std::size_t) {
      if (graphs.errors[i]) std::rethrow_exception(graphs.errors[i]);
      if (options[i].dump)
        options[i].dump(
            "K", graphs.unit.select(0, static_cast<std::int64_t>(i)).to(Device::cpu()).transpose(0, 1).contiguous());
      stages[i].emplace(std::move(*graphs.graphs[i]), grid, frames[i], options[i]);
    });
  }
  for (;;) {
    std::vector<std::size_t> pending;
    std::vector<const PatchGraph*> graphs;
    for (const std::size_t i : all) {
      if (outcomes[i].error || !stages[i]->wants_cut()) continue;
      pending.push_back(i);
      graphs.push_back(&stages[i]->graph());
    }
    if (pending.empty()) break;
    if (options[0].eigensolver == Eigensolver::kDense) {
      for_pictures(pending, [&](std::size_t i, std::size_t) {
        stages[i]->step(smallest_eigenvectors(stages[i]->graph(), 1, Eigensolver::kDense));
      });
      continue;
    }
    const std::vector<CutOutcome> cuts = smallest_eigenvectors_batch(graphs, 1, features.device());
    for_pictures(pending, [&](std::size_t i, std::size_t k) {
      if (cuts[k].error) std::rethrow_exception(cuts[k].error);
      stages[i]->step(cuts[k].vectors);
    });
  }
  for (const std::size_t i : all)
    if (!outcomes[i].error) outcomes[i].result = stages[i]->take();
  return outcomes;
}

}  // namespace usol::maskcut
