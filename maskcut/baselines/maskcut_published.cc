// MaskCut with its published constants, as a method to compare the others with; `usol maskcut` has all its options.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "usol/maskcut/crf.h"
#include "usol/maskcut/discoverer.h"
#include "usol/maskcut/maskcut.h"

namespace usol::maskcut {
namespace {

class PublishedMaskCut : public Discoverer {
 public:
  void declare(Settings& settings) override {
    settings.add("tau NUMBER", tau_, "Patches are connected from this cosine on").between(-1, 1);
  }
  Framing framing() const override { return Framing::kFrame; }
  std::int64_t usual_size_px() const override { return 480; }
  std::string why_undivided() const override { return why_all_connected(tau_, true); }
  DiscoveredObjects find(const DiscoverScene& scene) const override {
    MaskCutOptions options;
    options.preset = scene.options.preset;
    options.tau = tau_;
    options.size = scene.options.size_px;
    options.patch = scene.patch;
    options.native_aspect = scene.options.native_aspect;
    options.frames = frames_;
    DiscoveredObjects found;
    found.swapped_sides = scene.options.preset == Preset::kRelease;
    MaskCutResult result = maskcut(scene.maps.features, scene.image, options);
    found.undivided = result.uncut();
    for (PseudoMask& mask : result.masks) found.add(std::move(mask.mask), mask.score);
    return found;
  }

 private:
  double tau_ = MaskCutOptions{}.tau;
  std::shared_ptr<CrfFrames> frames_ = std::make_shared<CrfFrames>();
};
const RegisterDiscoverer<PublishedMaskCut> kMaskCut("maskcut", "repeated cuts, with the published constants");

}  // namespace
}  // namespace usol::maskcut
