#include "usol/models/rcnn/describe.h"

#include <fmt/format.h>

#include <cstdint>
#include <string>

#include "usol/models/backbone.h"

namespace usol::rcnn {
namespace {

const Tensor* find(const StateDict& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found != tensors.end() && found->second.rank() == 2 ? &found->second : nullptr;
}

bool any_begins_with(const StateDict& tensors, const std::string& prefix) {
  const auto first = tensors.lower_bound(prefix);
  return first != tensors.end() && first->first.starts_with(prefix);
}

std::int64_t count_numbered(const StateDict& tensors, const std::string& prefix) {
  std::int64_t count = 0;
  while (any_begins_with(tensors, fmt::format("{}{}.", prefix, count))) ++count;
  return count;
}

}  // namespace

std::optional<Description> describe(const StateDict& tensors) {
  if (!any_begins_with(tensors, "backbone.") || !any_begins_with(tensors, "roi_heads.")) return std::nullopt;
  Description out;
  const std::int64_t stages = count_numbered(tensors, "roi_heads.box_predictor.");
  const bool masks = any_begins_with(tensors, "roi_heads.mask_head.");
  out.architecture = stages > 0 ? masks ? "Cascade Mask R-CNN" : "Cascade R-CNN"
                     : masks    ? "Mask R-CNN"
                                : "Faster R-CNN";
  if (stages > 0) out.facts.emplace_back("cascade stages", std::to_string(stages));
  std::string backbone = "unknown";
  for (const BackboneKind& kind : Registry<BackboneKind>::all()) {
    const auto described = kind.describe(tensors, "backbone.");
    if (!described) continue;
    backbone = described->architecture;
    out.facts.insert(out.facts.end(), described->facts.begin(), described->facts.end());
    break;
  }
  out.facts.emplace_back("backbone", backbone);
  const std::string predictor = stages > 0 ? "roi_heads.box_predictor.0." : "roi_heads.box_predictor.";
  if (const Tensor* scores = find(tensors, predictor + "cls_score.weight"))
    out.facts.emplace_back("classes", std::to_string(scores->size(0) - 1));
  if (const Tensor* boxes = find(tensors, predictor + "bbox_pred.weight"))
    out.facts.emplace_back("boxes", boxes->size(0) == 4 ? "class-agnostic" : "one per class");
  return out;
}

}  // namespace usol::rcnn
