#pragma once
// What training, prediction, evaluation and test-time augmentation ask of a detector: pictures and truths become
// losses, pictures alone become objects. Which detector it is, a checkpoint or the settings of a training decide: each
// kind registers itself and recognises its own weights.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "usol/models/describe.h"
#include "usol/models/preset.h"
#include "usol/models/registry.h"
#include "usol/nn/context.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/settings.h"
#include "usol/tensor/size.h"
#include "usol/tensor/tensor.h"

namespace usol {

// What detectors take and give. Boxes are [R, 4] f32, x0 y0 x1 y1 in pixels of the network's input.
namespace detection {

/// The objects of a picture, for training.
struct Truths {
  Tensor boxes;    // [G, 4]
  Tensor classes;  // i64 [G], from 0
  Tensor masks;    // u8 or bool [G, H, W] of the network's input (or of a larger frame); may be undefined without masks
  /// What stands for each object's looks, [G, E] f32; undefined where nobody knows (models/solov2/).
  Tensor embeddings = {};
  /// Height of the picture's file, before it was resized; 0: it was not.
  std::int64_t file_height = 0;
};

/// What masks cover that are not cut out by boxes.
struct MaskFrame {
  std::int64_t cell_px = 0;  // pixels of the network's input that a cell is high and wide; 0: masks go with their boxes
  Size picture = {};         // the picture in the network's input, from the upper left corner on
};

/// Found objects, by descending score.
struct Detections {
  Tensor boxes;    // [D, 4]
  Tensor scores;   // [D], in (0, 1]
  Tensor classes;  // i64 [D]
  /// f32, probabilities: [D, M, M] over the box, or, where there is a frame, [D, h, w] over that. Undefined in a model
  /// without masks.
  Tensor masks;
  MaskFrame frame = {};

  std::int64_t size() const { return boxes.size(0); }
  bool has_whole_masks() const { return frame.cell_px > 0; }
};

struct DetectOptions {
  double score = 0;  // only objects with a higher score
  double nms = 0.5;  // of objects of one class whose boxes overlap more, the best stays; nothing to Info::whole_masks
  std::int64_t most = 100;
};

/// Losses by name, f32 scalars; their sum is what training makes smaller.
using Losses = std::map<std::string, Tensor>;

/// Training has diverged: a prediction is not finite.
class Diverged : public Error {
 public:
  using Error::Error;
};

/// Where the random choices of a training pass come from (those of its layers come from Context::rng). The pass begins
/// with picture number `first_picture` of the whole batch: so ranks and passes choose what one process would.
struct Draws {
  Generator generator;
  std::int64_t first_picture = 0;
  std::int64_t step = 0;  // of the training, from 0: some losses grow with it
};

/// What the network made of some pictures: its maps, and the objects found there, without masks.
struct Seen {
  std::vector<Tensor> maps;
  std::vector<Detections> found;
};

/// What callers need to know of a detector.
struct Info {
  std::string name;          // "Cascade Mask R-CNN on ViTDet"
  std::int64_t classes = 1;  // without the background
  bool masks = true;
  /// Its masks cover the whole picture, and boxes follow from them: it makes no masks for boxes that come from
  /// elsewhere.
  bool whole_masks = false;
  /// Size of the pictures that it is made for: the short side, unless the long one would exceed `long_px`.
  std::int64_t short_px = 800, long_px = 1333;
  /// Pictures are padded to multiples of this, those of one batch to one size.
  std::int64_t step_px = 1;
};

}  // namespace detection

class Detector {
 public:
  virtual ~Detector() = default;
  virtual detection::Info info() const = 0;

  /// All losses of a batch: pictures u8 (or f32, 0 ... 255) [H, W, 3] RGB on the CPU, and their truths, with masks in a
  /// model that has them. With context.dtype, maps and products are in that format, boxes and losses f32. With
  /// context.ranks the pictures are this rank's share of the batch, and so are the losses: to be added up over the
  /// ranks. Throws detection::Diverged when training has diverged.
  virtual detection::Losses losses(const std::vector<Tensor>& pictures, const std::vector<detection::Truths>& truths,
                                   const detection::Draws& draws, const Context& context) const = 0;
  /// Runs all that has batch norms on the pictures, for their statistics (context.statistics). No gradient.
  virtual void run_norms(const std::vector<Tensor>& pictures, const Context& context) const = 0;

  /// The first half of detect(). No gradient.
  virtual detection::Seen see(const std::vector<Tensor>& pictures, const detection::DetectOptions& options) const = 0;
  /// Fills in the masks of the objects found, which may have been changed since. No gradient; does nothing in a model
  /// without masks, or with whole ones (Info::whole_masks), which are there already.
  virtual void add_masks(detection::Seen& seen) const = 0;
  /// The objects of each picture, in pixels of the network's input. No gradient.
  std::vector<detection::Detections> detect(const std::vector<Tensor>& pictures,
                                            const detection::DetectOptions& options = {}) const;
};

/// Makes a detector whose parameters come from the scope; device and dtype are those of the scope's store.
using MakeDetector = std::function<std::unique_ptr<Detector>(const Scope& scope, Device device, DType dtype)>;

/// What a training says to every detector.
struct DetectorPlan {
  std::int64_t classes = 1;  // without the background
  Preset preset = Preset::kPaper;
};

/// The settings by which a training makes a detector of one kind. Plain values: a copy is independent.
class DetectorSettings {
 public:
  virtual ~DetectorSettings() = default;
  virtual void declare(Settings& settings) = 0;
  /// Throws Error(kUsage) on values that do not fit together.
  virtual MakeDetector make(const DetectorPlan& plan) const = 0;
  /// Whether it learns from masks, so that the truths must have some; from boxes alone if not.
  virtual bool learns_masks() const { return true; }
  /// Whether the objects that it finds have masks.
  virtual bool finds_masks() const { return learns_masks(); }
  virtual std::unique_ptr<DetectorSettings> clone() const = 0;
  /// Numbers of an object's looks that are learned where truths have them (Truths::embeddings); 0: none.
  virtual std::int64_t learned_embedding(Preset /*preset*/) const { return 0; }
};

/// One kind of detector, registered as Registry<DetectorKind>::Add.
struct DetectorKind {
  std::string name;        // "rcnn"
  std::string recognised;  // by what, for errors: "a Mask R-CNN (no backbone ...)"
  /// Reads the sizes off names and shapes; empty if the tensors are no detector of this kind.
  MakeDetector (*recognise)(const StateDict& state);
  /// Tensors of its files that are no parameters.
  bool (*leave_out)(const std::string& name);
  /// Architecture and facts for `usol info`, of incomplete files too; nothing if the tensors are none of this kind.
  std::optional<Description> (*describe)(const StateDict& state);
  /// The settings of a training, with their defaults; null for a kind that is not trained.
  std::unique_ptr<DetectorSettings> (*settings)() = nullptr;
};

/// The detector that the tensors are, sharing them, for inference; `what` names the file in errors. Throws
/// Error(kFormat) if no kind recognises them, or listing the keys that do not fit.
std::unique_ptr<Detector> load_detector(StateDict state, std::string_view what, Device device = {},
                                        DType dtype = DType::kF32);

/// Size at which a picture enters the network: the short side `short_px` unless the long one would exceed `most_px`.
/// Source: Detectron2, ResizeShortestEdge.
Size network_size(const Size& picture, std::int64_t short_px = 800, std::int64_t most_px = 1333);
/// Objects in another size of the picture: boxes scaled from `from` to `to`, clipped, those without area dropped.
detection::Detections rescaled(const detection::Detections& detections, const Size& from, const Size& to);
/// Their masks in a picture of that size: u8 [D, height, width]. Undefined without masks. Whole masks are stretched
/// over the picture bilinearly and cut at one half; boxes of `detections` mean nothing to them.
Tensor full_masks(const detection::Detections& detections, const Size& size);

}  // namespace usol
