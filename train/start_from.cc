#include "usol/train/start_from.h"

#include <set>
#include <vector>

#include "usol/io/key_map.h"
#include "usol/models/backbone.h"
#include "usol/tensor/check.h"

namespace usol::train {
namespace {

// Where in a detector a network trained by itself has its place: "backbone.bottom_up." for a ResNet, "backbone.net."
// for a ViT, "backbone." and "roi_heads." for a ResNet whose last stage is in the heads.
std::vector<std::string> bottoms() {
  std::vector<std::string> prefixes;
  for (const BackboneKind& kind : Registry<BackboneKind>::all()) {
    prefixes.push_back("backbone." + kind.bottom);
    if (!kind.elsewhere.empty()) prefixes.push_back(kind.elsewhere);
  }
  return prefixes;
}

}  // namespace

StartReport start_from(ParamStore& store, StateDict state, const std::string& what) {
  if (state.contains("layer1.0.conv1.weight")) io::resnet_to_detectron2(state);
  StartReport report;
  std::set<std::string> used;
  const std::vector<std::string> places = bottoms();
  for (const std::string& name : store.names()) {
    auto found = state.find(name);
    for (const std::string& bottom : places)
      if (found == state.end() && name.starts_with(bottom)) found = state.find(name.substr(bottom.size()));
    if (found == state.end()) {
      report.fresh.push_back(name);
      continue;
    }
    used.insert(found->first);
    Tensor tensor = store.entries().at(name).tensor;
    if (tensor.shape() != found->second.shape()) {
      report.mismatched.push_back(fmt::format("{}: expected {}, got {}", name, tensor.shape(), found->second.shape()));
      report.fresh.push_back(name);
      continue;
    }
    tensor.copy_from(found->second);
    report.loaded.push_back(name);
  }
  for (const auto& [name, tensor] : state)
    if (!used.contains(name)) report.unused.push_back(name);
  check(!report.loaded.empty(), ErrorKind::kFormat,
        "{}: none of its tensors fits the detector; expected a detector, or its backbone alone: a ResNet under "
        "Detectron2's names, a ViT of the same width and patch",
        what);
  return report;
}

}  // namespace usol::train
