#pragma once
// What `usol discover` asks of a method that finds objects without labels: its own settings, what it needs of the
// network, and the objects of a picture. Each method registers itself in its own file of maskcut/baselines/;
// docs/add_a_discover_method.md walks through one. Third arrow of the pipeline.

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/rle.h"
#include "usol/maskcut/frame.h"
#include "usol/models/patch_backbone.h"
#include "usol/models/preset.h"
#include "usol/models/registry.h"
#include "usol/tensor/settings.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// What a run says to every method.
struct DiscoverOptions {
  Preset preset = Preset::kPaper;
  std::uint64_t seed = 0;
  std::int64_t size_px = 0;  // side of the square that pictures are resized to; 0: as the method has it
  bool native_aspect = false;
};

/// A picture and what the network made of it.
struct DiscoverScene {
  const Tensor& image;     // u8 [H, W, 3], at its own size
  const PatchMaps& maps;   // on the CPU: features f32 [D, h, w], attention f32 [heads, h, w] where the method needs it
  std::int64_t patch = 0;  // side of a patch, in pixels ...
  Size pixels;             // ... of what the grid of patches stands for: the picture's own size, or a frame
  const DiscoverOptions& options;
};

struct DiscoveredObject {
  Tensor mask;    // u8 [H, W] of 0/1 at the picture's size, not empty
  io::Box box{};  // left, top, width, height; as the method has it
  double score = 1;
  std::vector<float> embedding = {};  // numbers that a training may learn to predict; empty: none are written
};

struct DiscoveredObjects {
  std::vector<DiscoveredObject> objects = {};
  Tensor soft = {};            // f64 [H, W] in about 0 ... 1, of a method that gives_maps()
  bool swapped_sides = false;  // the record is to have the picture's height as its width, as a release writes it
  bool undivided = false;      // the features tell no patch from another, as Discoverer::why_undivided() says

  /// Adds a mask with the box around it, unless it is empty.
  void add(Tensor mask, double score = 1);
};

class Discoverer {
 public:
  virtual ~Discoverer() = default;
  /// The method's own settings, with its own defaults. Other methods may have some of the same names.
  virtual void declare(Settings&) {}
  /// Throws Error(kUsage) on settings that do not fit together.
  virtual void check(const DiscoverOptions&) const {}

  /// Of the class token, in the last block.
  virtual bool needs_attention() const { return false; }
  /// How pictures are framed where the run names no size, and usual_size_px() is 0.
  virtual Framing framing() const { return Framing::kPadded; }
  /// Side of the square that pictures are resized to where the run names none; 0: their own size.
  virtual std::int64_t usual_size_px() const { return 0; }
  /// The lengths of Framing::kShortSide.
  virtual ShortSide short_side() const { return {}; }
  /// The most patches that a picture may have.
  virtual std::int64_t most_patches() const { return std::numeric_limits<std::int64_t>::max(); }
  /// Whether it makes soft maps of saliency, as it is set now.
  virtual bool gives_maps() const { return false; }

  /// Why a picture is `undivided`, and what to do about it, to end "N of M pictures could not be divided, since "; of
  /// a method that says so of none: empty.
  virtual std::string why_undivided() const { return {}; }

  /// Files that it reads, with what they are ("found-weights"): they must exist, and their hashes are recorded.
  virtual std::vector<std::pair<std::string, std::string>> files() const { return {}; }
  /// Reads them, once, after check().
  virtual void load() {}

  /// The objects of a picture; several threads may ask. Throws Error if the maps do not belong to the picture.
  virtual DiscoveredObjects find(const DiscoverScene& scene) const = 0;
};

/// What to do where cosines are all high, and why_undivided() of methods that connect the patches of a cosine above
/// tau (`inclusive`: of tau or more).
inline constexpr const char* kOtherFeatures =
    "take others (of DINOv2 the output instead of keys, see docs/features.md)";
std::string why_all_connected(double tau, bool inclusive);

/// One method, registered as Registry<DiscovererKind>::Add.
struct DiscovererKind {
  std::string name;     // "lost"
  std::string summary;  // for the help: how it finds objects, in a few words
  std::unique_ptr<Discoverer> (*make)();
};

/// Last line of a method's file: `const RegisterDiscoverer<Lost> kLost("lost", "...");`
template <class D>
struct RegisterDiscoverer : Registry<DiscovererKind>::Add {
  RegisterDiscoverer(const char* name, const char* summary)
      : Registry<DiscovererKind>::Add(
            {name, summary, []() -> std::unique_ptr<Discoverer> { return std::make_unique<D>(); }}) {}
};

}  // namespace usol::maskcut
