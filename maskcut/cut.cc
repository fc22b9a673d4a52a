#include "usol/maskcut/cut.h"

#include <cmath>
#include <string>
#include <utility>

#include "usol/maskcut/components.h"
#include "usol/maskcut/partition.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

std::vector<std::uint8_t> marks_of(const Tensor& mask) { return mask.to_vector<std::uint8_t>(); }

Tensor no_object(const Size& grid) { return Tensor::zeros({grid.height, grid.width}, DType::kU8); }

}  // namespace

std::string_view name_of(StageOutcome outcome) {
  switch (outcome) {
    case StageOutcome::kAccepted:
      return "accepted";
    case StageOutcome::kOverlap:
      return "overlap";
    case StageOutcome::kSmall:
      return "small";
    case StageOutcome::kNoObject:
      return "no object";
    case StageOutcome::kCovered:
      return "covered";
    case StageOutcome::kCrfRejected:
      return "crf rejected";
    case StageOutcome::kEmpty:
      return "empty";
  }
  fail(ErrorKind::kInvalidArgument, "name_of: not a stage outcome");
}

CutResult cut_features(const Tensor& features, const Size& frame, const MaskCutOptions& options) {
  check(features.defined() && features.rank() == 3 && features.dtype() == DType::kF32 && features.numel() > 0,
        "maskcut: expected f32 features [D, h, w], got {}",
        features.defined() ? fmt::format("{} {}", features.dtype(), features.shape()) : "nothing");
  check_cut_arguments(frame, options);
  const Size grid{features.size(1), features.size(2)};
  const Tensor unit =
      normalize_features(features.to(Device::cpu()).reshape({features.size(0), grid.height * grid.width}));
  if (options.dump) options.dump("K", unit.transpose(0, 1).contiguous());
  CutStages stages(PatchGraph(unit, affinity_options(options)), grid, frame, options);
  while (stages.wants_cut())
    stages.step(smallest_eigenvectors(stages.graph(), 1, options.eigensolver, features.device()));
  return stages.take();
}

void check_cut_arguments(const Size& frame, const MaskCutOptions& options) {
  check(frame.height >= 1 && frame.width >= 1, "maskcut: expected a frame of at least 1 x 1, got {} x {}", frame.height,
        frame.width);
  check(options.masks >= 1, ErrorKind::kUsage, "maskcut: expected at least 1 mask, got {}", options.masks);
  check(std::isfinite(options.tau), ErrorKind::kUsage, "maskcut: expected a finite tau, got {}", options.tau);
}

AffinityOptions affinity_options(const MaskCutOptions& options) {
  return {.tau = options.tau, .inclusive = options.preset == Preset::kPaper};
}

CutStages::CutStages(PatchGraph graph, const Size& grid, const Size& frame, const MaskCutOptions& options)
    : options_(options),
      grid_(grid),
      frame_(frame),
      graph_(std::move(graph)),
      previous_(no_object(grid)),
      covered_(Tensor::zeros({frame.height, frame.width}, DType::kU8)) {
  dump_graph();
}

void CutStages::step(const CutVectors& second) {
  const CutStage stage = cut(second);
  // Without a new object the graph stays as it is, so the next stage finds the same cut.
  for (bool graph_changed = false; wants_cut() && !graph_changed;) {
    if (options_.stop_eigenvalue && stage.eigenvector.defined() && stage.eigenvalue > *options_.stop_eigenvalue) {
      done_ = true;
      return;
    }
    const std::size_t t = result_.stages.size();
    result_.stages.push_back(stage);
    const StageOutcome outcome = result_.stages[t].outcome = judge(stage, t);
    if (outcome == StageOutcome::kNoObject) {  // nor in any later stage
      done_ = true;
    } else if (outcome != StageOutcome::kAccepted) {
      // In paper it would be rejected for the same reason. release forgets the previous stage's object, and may then
      // accept it.
      if (options_.preset == Preset::kPaper) done_ = true;
      previous_ = no_object(grid_);
    } else {
      previous_ = stage.object;
      graph_.paint_out(marks_of(stage.object));
      graph_changed = true;
      keep(stage.object, t);
    }
  }
  if (wants_cut()) dump_graph();
}

void CutStages::dump(const char* name, std::size_t stage, const Tensor& value) const {
  if (options_.dump) options_.dump(std::string(name) + "_" + std::to_string(stage + 1), value);
}

void CutStages::dump_graph() const {
  if (!options_.dump) return;
  dump("W", result_.stages.size(), graph_.dense());
  dump("d", result_.stages.size(), Tensor::from(graph_.degrees(), {graph_.size()}));
}

// One normalized cut of the graph; its outcome is not decided yet.
CutStage CutStages::cut(const CutVectors& vectors) const {
  CutStage stage;
  if (vectors.found() == 0) return stage;
  const std::size_t t = result_.stages.size();
  stage.eigenvalue = vectors.values[0];
  stage.degenerate = vectors.degenerate[0] != 0;
  stage.eigenvector = vectors.vectors.reshape({grid_.height, grid_.width});
  const Partition split = partition(stage.eigenvector, options_.preset);
  stage.object = split.object;
  stage.seed = split.seed;
  stage.complemented = split.complemented;
  stage.ncut = graph_.ncut(marks_of(stage.object));
  dump("lambda", t, Tensor::from<double>({stage.eigenvalue}, {}));
  dump("x", t, stage.eigenvector);
  dump("P", t, split.foreground);
  dump("M", t, stage.object);
  return stage;
}

StageOutcome CutStages::judge(const CutStage& stage, std::size_t t) const {
  if (!stage.eigenvector.defined()) return StageOutcome::kNoObject;
  const std::int64_t area = mask_area(stage.object);
  if (area == 0) return StageOutcome::kNoObject;
  if (options_.max_ncut && stage.ncut > *options_.max_ncut) return StageOutcome::kNoObject;
  if (t == 0) return StageOutcome::kAccepted;
  if (mask_iou(previous_, stage.object) > 0.5) return StageOutcome::kOverlap;
  // Divided by one side after the other, so that a share of exactly 1 % rounds as in the release.
  if (static_cast<double>(area) / static_cast<double>(grid_.height) / static_cast<double>(grid_.width) <= 0.01)
    return StageOutcome::kSmall;
  return StageOutcome::kAccepted;
}

// Upsamples an accepted object and leaves out what earlier stages cover.
void CutStages::keep(const Tensor& object, std::size_t t) {
  Tensor mask = upsample_nearest(object, frame_);
  std::uint8_t *out = mask.mutable_data<std::uint8_t>(), *earlier = covered_.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0, pixels = mask.numel(); i < pixels; ++i) {
    out[i] = out[i] != 0 && earlier[i] == 0;
    earlier[i] |= out[i];
  }
  dump("S", t, mask);
  if (mask_area(mask) > 0)
    result_.masks.push_back({mask, t});
  else
    result_.stages[t].outcome = StageOutcome::kCovered;
}

}  // namespace usol::maskcut
