#include "usol/maskcut/baselines/tokencut.h"

#include <cmath>
#include <numeric>
#include <span>

#include "usol/maskcut/affinity.h"
#include "usol/maskcut/bilateral_solver.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

AffinityOptions affinity_of(const TokenCutOptions& options) {
  return {.tau = options.tau, .inclusive = false, .eps = options.eps};
}

// The side of x's mean that holds its most extreme element, and that element's component.
// x has canonical sign: its most extreme element is positive.
Discovery object_of(std::span<const double> x, std::int64_t height, std::int64_t width) {
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
  Tensor foreground = Tensor::empty(Shape{height, width}, DType::kU8);
  std::uint8_t* f = foreground.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < x.size(); ++i) f[i] = x[i] > mean;
  Discovery object;
  object.seed = argmax(x);
  object.mask = component_of(foreground, object.seed);
  return object;
}

}  // namespace

std::vector<Discovery> tokencut(const Tensor& features, std::int64_t patch, const Size& picture,
                                const TokenCutOptions& options) {
  check_patch_features("tokencut", features, patch, picture);
  check(options.eigenvectors >= 1, "tokencut: expected at least one eigenvector, got {}", options.eigenvectors);
  const std::int64_t height = features.size(1), width = features.size(2), patches = height * width;
  const PatchGraph graph(normalize_features(features.contiguous().reshape({features.size(0), patches})),
                         affinity_of(options));
  const CutVectors cuts = smallest_eigenvectors(graph, options.eigenvectors, options.eigensolver);
  std::vector<Discovery> objects;
  for (std::int64_t i = 0; i < cuts.found(); ++i) {
    const Tensor x = cuts.vectors.select(0, i).contiguous();
    objects.push_back(object_of({x.data<double>(), static_cast<std::size_t>(patches)}, height, width));
    objects.back().box = pixel_box(objects.back().mask, patch, picture);
  }
  return objects;
}

void declare_task(Settings& settings, std::string& task, std::string& bilateral, const std::string& usual) {
  settings.choice("task", task, {"objects", "saliency"},
                  "objects: boxes and masks in steps of a patch. saliency: one fine mask and a soft map");
  settings.when("task", "saliency", [&bilateral, &usual](Settings& s) {
    s.choice("bilateral", bilateral, {"auto", "on", "off"},
             "Fit saliency to the picture's edges with the bilateral solver. " + usual);
  });
}

void check_task(bool saliency, const DiscoverOptions& options) {
  check(!saliency || options.size_px == 0, ErrorKind::kUsage,
        "task saliency works at each picture's own size; leave out size");
}

DiscoveredObjects as_found(const Saliency& saliency) {
  DiscoveredObjects found;
  found.soft = saliency.soft;
  found.add(saliency.mask);
  return found;
}

Saliency tokencut_saliency(const Tensor& object, const Tensor& image, Preset preset) {
  const BilateralSolver solver(image);
  Saliency saliency;
  saliency.soft = solver.solve(upsample_nearest(object, {image.size(0), image.size(1)}));
  saliency.mask = saliency_mask(saliency.soft, preset);
  return saliency;
}

namespace {

template <int kEigenvectors>
class TokenCut : public Discoverer {
 public:
  TokenCut() { options_.eigenvectors = kEigenvectors; }
  void declare(Settings& settings) override {
    settings.add("tau NUMBER", options_.tau, "Patches are connected above this cosine").between(-1, 1);
    if (kEigenvectors > 1) return;
    declare_task(settings, task_, bilateral_, "auto: on");
  }
  void check(const DiscoverOptions& options) const override { check_task(gives_maps(), options); }
  Framing framing() const override { return gives_maps() ? Framing::kNearest : Framing::kPadded; }
  bool gives_maps() const override { return task_ == "saliency"; }
  std::string why_undivided() const override { return why_all_connected(options_.tau, false); }
  DiscoveredObjects find(const DiscoverScene& scene) const override {
    const std::vector<Discovery> objects = tokencut(scene.maps.features, scene.patch, scene.pixels, options_);
    DiscoveredObjects found = gives_maps() ? as_found(saliency(objects, scene)) : in_picture(objects, scene);
    found.undivided = objects.empty() && all_connected(scene.maps.features, affinity_of(options_));
    return found;
  }

 private:
  Saliency saliency(const std::vector<Discovery>& objects, const DiscoverScene& scene) const {
    const Size size{scene.image.size(0), scene.image.size(1)};
    Saliency saliency{Tensor::zeros({size.height, size.width}, DType::kF64),
                      Tensor::zeros({size.height, size.width}, DType::kU8)};
    if (!objects.empty() && bilateral_ != "off") {
      saliency = tokencut_saliency(objects[0].mask, scene.image, scene.options.preset);
    } else if (!objects.empty()) {
      saliency.mask = upsample_nearest(objects[0].mask, size);
      saliency.soft = saliency.mask.to(DType::kF64);
    }
    return saliency;
  }

  TokenCutOptions options_;
  std::string task_ = "objects", bilateral_ = "auto";
};
const RegisterDiscoverer<TokenCut<1>> kTokenCut("tokencut", "one cut, on the side of its most extreme patch");
const RegisterDiscoverer<TokenCut<3>> kTokenCut3("tokencut-3ev", "the same from each of three eigenvectors");

}  // namespace

}  // namespace usol::maskcut
