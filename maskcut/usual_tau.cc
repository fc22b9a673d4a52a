#include "usol/maskcut/usual_tau.h"

namespace usol::maskcut {

const std::vector<PublishedTau>& published_taus() {
  static const std::vector<PublishedTau> kTaus{
      {"DINO", FeatureKind::kK, 0.15, "MaskCut of CutLER (Wang et al. 2023), VoteCut of CuVLER (Arica et al. 2024)"},
      {"DINOv2", FeatureKind::kOut, 0.15, "VoteCut of CuVLER (Arica et al. 2024)"},
  };
  return kTaus;
}

UsualTau usual_tau(const PatchBackbone& backbone, const FeatureParts& parts) {
  if (parts.size() == 1 && parts[0].layer == backbone.layers() - 1)
    for (const PublishedTau& known : published_taus())
      if (known.family == backbone.family() && known.kind == parts[0].kind)
        return {known.tau, std::string(known.source)};
  return {};
}

}  // namespace usol::maskcut
