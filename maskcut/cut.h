#pragma once
// The stages of MaskCut on the patch grid: normalized cut, object, rejection, paint out, repeat. Ends at the masks that
// the dense CRF starts from. In the pipeline: between patch features and maskcut/maskcut.h.
// Source: Wang et al. 2023, "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", section 3.2.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/maskcut/affinity.h"
#include "usol/maskcut/crf.h"
#include "usol/maskcut/frame.h"
#include "usol/maskcut/ncut.h"
#include "usol/models/preset.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// Receives every intermediate array of maskcut() under the name it has in the equations. See maskcut().
using DumpSink = std::function<void(std::string_view name, const Tensor& value)>;

struct MaskCutOptions {
  Preset preset = Preset::kPaper;
  /// Two patches are connected when the cosine of their features is at least (release: above) tau.
  double tau = 0.15;
  /// Number of stages, so the largest number of masks (the paper's N).
  int masks = 3;
  /// Side, in pixels, of the square frame (S x S) that cuts are upsampled to and the CRF runs on.
  std::int64_t size = 480;
  /// Side of a patch in pixels. Used by working_size() and for native_aspect; maskcut() reads the grid off the
  /// features.
  std::int64_t patch = 8;
  /// Frame with the picture's own aspect ratio and about size * size pixels, instead of a square.
  bool native_aspect = false;
  /// Refine every mask with the dense CRF, and drop it when that changes it too much (IoU < 0.5).
  bool crf = true;
  Eigensolver eigensolver = Eigensolver::kLanczos;
  /// Stop rule: stages end before the first whose second eigenvalue (0 = two separate graphs, about 1 = no structure)
  /// exceeds this. With it `masks` can be generous. Not set: always `masks` stages.
  std::optional<double> stop_eigenvalue;
  /// "No object" rejection: an object whose Ncut value (0 to 2) exceeds this is no object. Not set: all are kept.
  std::optional<double> max_ncut;
  /// Not set: nothing is dumped.
  DumpSink dump;
  /// What the CRFs of pictures of one size share; copies of these options share it, too.
  std::shared_ptr<CrfFrames> frames = std::make_shared<CrfFrames>();
};

/// What became of a stage.
enum class StageOutcome {
  kAccepted,     // its object went on to the CRF
  kOverlap,      // rejected: IoU with the previous stage's object > 0.5
  kSmall,        // rejected: at most 1 % of the patches
  kNoObject,     // no cut is defined (all patches alike, fewer than two), it has no object, or it exceeds max_ncut
  kCovered,      // nothing is left after subtracting the earlier masks
  kCrfRejected,  // the CRF changed it too much
  kEmpty,        // no pixel is left at the image's size
};

/// "accepted", "overlap", "small", "no object", "covered", "crf rejected", "empty".
std::string_view name_of(StageOutcome outcome);

/// One normalized cut: kept for every stage that ran, accepted or not.
struct CutStage {
  StageOutcome outcome = StageOutcome::kNoObject;
  Tensor eigenvector;         // f64 [h, w], generalised, canonical sign; undefined when no cut is defined
  Tensor object;              // u8 [h, w], the connected component before rejection; undefined when no cut is defined
  double eigenvalue = 0;      // second smallest of (D - W) x = lambda D x
  double ncut = 0;            // Ncut(object, rest), in [0, 2]: smaller is better separated
  std::int64_t seed = -1;     // row-major patch index the component was grown from
  bool complemented = false;  // the foreground is the side with the smaller values
  bool degenerate = false;    // the second eigenvalue is not simple: the vector is a documented choice among many
};

/// A mask of frame size, before the CRF.
struct FrameMask {
  Tensor mask;            // u8 [frame height, frame width] of 0/1, not empty
  std::size_t stage = 0;  // index into CutResult::stages
};

struct CutResult {
  std::vector<CutStage> stages;  // at most options.masks
  std::vector<FrameMask> masks;  // of the accepted stages, disjoint
};

/// The stages on features f32 [D, h, w] (any device, finite), their objects upsampled to `frame`.
/// Dumps K, W_t, d_t, lambda_t, x_t, P_t, M_t and S_t of maskcut(). Throws Error as maskcut() does.
CutResult cut_features(const Tensor& features, const Size& frame, const MaskCutOptions& options);

/// Throws Error as maskcut() does for a frame or options that it cannot take.
void check_cut_arguments(const Size& frame, const MaskCutOptions& options);

/// The affinity that the options ask for.
AffinityOptions affinity_options(const MaskCutOptions& options);

/// The stages of cut_features() one at a time, for callers that solve the eigenproblems of many pictures together:
/// while wants_cut(), solve for graph() and step().
class CutStages {
 public:
  /// `graph` of the patches of `grid`; `options` must outlive this object.
  CutStages(PatchGraph graph, const Size& grid, const Size& frame, const MaskCutOptions& options);

  bool wants_cut() const { return !done_ && result_.stages.size() < static_cast<std::size_t>(options_.masks); }
  const PatchGraph& graph() const { return graph_; }
  /// Goes on with the second eigenvector of graph(), as smallest_eigenvectors(graph(), 1) gives it. If an object is
  /// accepted it is painted out of the graph.
  void step(const CutVectors& second);
  /// Patches u8 [h, w] that were painted out last; nothing if the last stage accepted no object.
  const Tensor& last_object() const { return previous_; }
  /// The result, once wants_cut() is false.
  CutResult take() { return std::move(result_); }

 private:
  void dump(const char* name, std::size_t stage, const Tensor& value) const;
  void dump_graph() const;
  CutStage cut(const CutVectors& vectors) const;
  StageOutcome judge(const CutStage& stage, std::size_t t) const;
  void keep(const Tensor& object, std::size_t t);

  const MaskCutOptions& options_;
  Size grid_, frame_;
  PatchGraph graph_;
  Tensor previous_;  // u8 [h, w]: the previous stage's object, empty if it was rejected
  Tensor covered_;   // u8 [frame]: union of the masks so far
  bool done_ = false;
  CutResult result_;
};

}  // namespace usol::maskcut
