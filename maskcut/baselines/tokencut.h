#pragma once
// TokenCut: one normalized cut of the patch graph; the object is the component of the most extreme patch.
// Source: Wang et al. 2022, "Self-Supervised Transformers for Unsupervised Object Discovery using Normalized Cut",
// sections 3.2 and 4.2; the variant with three eigenvectors is a baseline of Wang et al. 2023 (MaskCut).

#include <string>

#include "usol/maskcut/baselines/discovery.h"
#include "usol/maskcut/ncut.h"
#include "usol/models/preset.h"

namespace usol::maskcut {

struct TokenCutOptions {
  double tau = 0.2;      // patches are connected when the cosine of their features exceeds tau
  double eps = 1e-5;     // weight of the others
  int eigenvectors = 1;  // 3: one object from each of the second to the fourth
  Eigensolver eigensolver = Eigensolver::kLanczos;
};

/// At most options.eigenvectors objects, in the order of the eigenvalues; fewer where the graph has no such cut.
/// features: k of the last block, f32 [D, h, w], of the picture at its own size, normalised and then zero-padded to
/// multiples of the patch. Throws Error when shapes, dtypes or options are not as said.
std::vector<Discovery> tokencut(const Tensor& features, std::int64_t patch, const Size& picture,
                                const TokenCutOptions& options = {});

/// A saliency map and the mask made of it.
struct Saliency {
  Tensor soft;  // f64 [H, W], which the metrics are computed on
  Tensor mask;  // u8 [H, W]
};

// What the methods have in common that find objects or make one saliency map:
/// The setting "task", with "bilateral" of its saliency; `usual` says what "auto" means to the method.
void declare_task(Settings& settings, std::string& task, std::string& bilateral, const std::string& usual);
/// Throws Error(kUsage) for saliency in another size than the picture's.
void check_task(bool saliency, const DiscoverOptions& options);
/// The mask as an object, and the soft map.
DiscoveredObjects as_found(const Saliency& saliency);

/// TokenCut's saliency: the object (u8 [h, w], from the picture resized to the nearest multiples of the patch) at the
/// picture's size, refined by the bilateral solver. image: u8 [H, W, 3] at its own size.
/// See saliency_mask() for the presets.
Saliency tokencut_saliency(const Tensor& object, const Tensor& image, Preset preset);

}  // namespace usol::maskcut
