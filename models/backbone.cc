#include "usol/models/backbone.h"

namespace usol {

MakeBackbone recognise_backbone(const StateDict& state, const std::string& prefix) {
  for (const BackboneKind& kind : Registry<BackboneKind>::all())
    if (MakeBackbone make = kind.recognise(state, prefix)) return make;
  return {};
}

}  // namespace usol
