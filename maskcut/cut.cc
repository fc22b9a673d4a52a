#include "maskcut/cut.h"

#include <cmath>
#include <string>
#include <utility>

#include "maskcut/affinity.h"
#include "maskcut/components.h"
#include "tensor/check.h"

namespace usol {
namespace {

std::vector<std::uint8_t> marks_of(const Tensor& mask) { return mask.to_vector<std::uint8_t>(); }

class Cutter {
 public:
  Cutter(const Tensor& features, const FrameSize& frame, const MaskCutOptions& options)
      : options_(options),
        frame_(frame),
        height_(features.size(1)),
        width_(features.size(2)),
        features_(normalize_features(features.to(Device::cpu()).reshape({features.size(0), height_ * width_}))) {
    if (options_.dump) options_.dump("K", features_.transpose(0, 1).contiguous());
  }

  CutResult run() {
    PatchGraph graph(features_, {.tau = options_.tau, .inclusive = options_.preset == Preset::kPaper});
    Tensor previous = Tensor::zeros({height_, width_}, DType::kU8);  // the previous stage's object, empty if rejected
    covered_ = Tensor::zeros({frame_.height, frame_.width}, DType::kU8);
    bool graph_changed = true;
    CutStage stage;
    for (std::size_t t = 0; t < static_cast<std::size_t>(options_.masks); ++t) {
      if (graph_changed) stage = cut(graph, t);
      graph_changed = false;
      if (options_.stop_eigenvalue && stage.eigenvector.defined() && stage.eigenvalue > *options_.stop_eigenvalue)
        break;
      stage.outcome = judge(stage, previous, t);
      result_.stages.push_back(stage);
      if (stage.outcome == StageOutcome::kNoObject) break;  // nor in any later stage: the graph stays the same
      if (stage.outcome != StageOutcome::kAccepted) {
        // Without a new object the graph stays as it is, so the next stage finds the same one. In paper it is rejected
        // for the same reason. release forgets the previous stage's object, and may then accept it.
        if (options_.preset == Preset::kPaper) break;
        previous = Tensor::zeros({height_, width_}, DType::kU8);
        continue;
      }
      previous = stage.object;
      graph.paint_out(marks_of(stage.object));
      graph_changed = true;
      keep(stage.object, t);
    }
    return std::move(result_);
  }

 private:
  void dump(const char* name, std::size_t stage, const Tensor& value) const {
    if (options_.dump) options_.dump(std::string(name) + "_" + std::to_string(stage + 1), value);
  }

  // One normalized cut of the graph; its outcome is not decided yet.
  CutStage cut(const PatchGraph& graph, std::size_t t) const {
    CutStage stage;
    if (options_.dump) {
      dump("W", t, graph.dense());
      dump("d", t, Tensor::from(graph.degrees(), {graph.size()}));
    }
    const CutVectors vectors = smallest_eigenvectors(graph, 1, options_.eigensolver);
    if (vectors.found() == 0) return stage;
    stage.eigenvalue = vectors.values[0];
    stage.degenerate = vectors.degenerate[0] != 0;
    stage.eigenvector = vectors.vectors.reshape({height_, width_});
    const Partition split = partition(stage.eigenvector, options_.preset);
    stage.object = split.object;
    stage.seed = split.seed;
    stage.complemented = split.complemented;
    stage.ncut = graph.ncut(marks_of(stage.object));
    dump("lambda", t, Tensor::from<double>({stage.eigenvalue}, {}));
    dump("x", t, stage.eigenvector);
    dump("P", t, split.foreground);
    dump("M", t, stage.object);
    return stage;
  }

  StageOutcome judge(const CutStage& stage, const Tensor& previous, std::size_t t) const {
    if (!stage.eigenvector.defined()) return StageOutcome::kNoObject;
    const std::int64_t area = mask_area(stage.object);
    if (area == 0) return StageOutcome::kNoObject;
    if (options_.max_ncut && stage.ncut > *options_.max_ncut) return StageOutcome::kNoObject;
    if (t == 0) return StageOutcome::kAccepted;
    if (mask_iou(previous, stage.object) > 0.5) return StageOutcome::kOverlap;
    // Divided by one side after the other, so that a share of exactly 1 % rounds as in the release.
    if (static_cast<double>(area) / static_cast<double>(height_) / static_cast<double>(width_) <= 0.01)
      return StageOutcome::kSmall;
    return StageOutcome::kAccepted;
  }

  // Upsamples an accepted object and leaves out what earlier stages cover.
  void keep(const Tensor& object, std::size_t t) {
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

  const MaskCutOptions& options_;
  FrameSize frame_;
  std::int64_t height_, width_;
  Tensor features_;  // f32 [D, h w], columns of length one
  Tensor covered_;   // u8 [frame]: union of the masks so far
  CutResult result_;
};

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

CutResult cut_features(const Tensor& features, const FrameSize& frame, const MaskCutOptions& options) {
  check(features.defined() && features.rank() == 3 && features.dtype() == DType::kF32 && features.numel() > 0,
        "maskcut: expected f32 features [D, h, w], got {}",
        features.defined() ? fmt::format("{} {}", features.dtype(), features.shape()) : "nothing");
  check(frame.height >= 1 && frame.width >= 1, "maskcut: expected a frame of at least 1 x 1, got {} x {}", frame.height,
        frame.width);
  check(options.masks >= 1, ErrorKind::kUsage, "maskcut: expected at least 1 mask, got {}", options.masks);
  check(std::isfinite(options.tau), ErrorKind::kUsage, "maskcut: expected a finite tau, got {}", options.tau);
  return Cutter(features, frame, options).run();
}

}  // namespace usol
