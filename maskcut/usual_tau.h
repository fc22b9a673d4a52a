#pragma once
// From which cosine on patches are connected, for a network's features: what has been published, and where.
// docs/features.md has the same table, with what other methods use.

#include <string>
#include <string_view>
#include <vector>

#include "usol/models/patch_backbone.h"

namespace usol::maskcut {

struct UsualTau {
  double tau = 0.15;
  std::string source = {};  // empty: nobody has published a value for these features
};

/// A published value: of the last layer of networks of `family`.
struct PublishedTau {
  std::string_view family;
  FeatureKind kind;
  double tau;
  std::string_view source;
};
const std::vector<PublishedTau>& published_taus();

/// The tau of MaskCut's graph on features of `parts`, layers counted from 0. Where nothing is published it is
/// MaskCutOptions' own, without a source: it must be tuned.
UsualTau usual_tau(const PatchBackbone& backbone, const FeatureParts& parts);

}  // namespace usol::maskcut
