#include "io/key_map.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "tensor/check.h"

namespace usol {
namespace {

using Tensors = std::map<std::string, Tensor>;

bool begins_with_any(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view p) { return name.starts_with(p); });
}

/// Removes `prefix` where it is, and leaves the other tensors out.
void keep_prefix(Tensors& tensors, std::string_view prefix, std::vector<std::string>& left_out) {
  Tensors kept;
  for (auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) {
      kept.emplace(name.substr(prefix.size()), std::move(tensor));
    } else {
      left_out.push_back(name);
    }
  }
  tensors = std::move(kept);
}

bool all_begin_with(const Tensors& tensors, std::initializer_list<std::string_view> prefixes) {
  return !tensors.empty() &&
         std::all_of(tensors.begin(), tensors.end(), [&](const auto& t) { return begins_with_any(t.first, prefixes); });
}

bool some_begin_with(const Tensors& tensors, std::string_view prefix) {
  const auto first = tensors.lower_bound(std::string(prefix));
  return first != tensors.end() && first->first.starts_with(prefix);
}

}  // namespace

KeyMapReport map_keys(Tensors& tensors) {
  KeyMapReport report;
  if (all_begin_with(tensors, {"module."})) {
    keep_prefix(tensors, "module.", report.left_out);
    report.applied.push_back("prefix 'module.' removed");
  }
  if (all_begin_with(tensors, {"encoder_q.", "encoder_k.", "queue"}) && some_begin_with(tensors, "encoder_q.")) {
    keep_prefix(tensors, "encoder_q.", report.left_out);
    report.applied.push_back("MoCo checkpoint: the query encoder, prefix 'encoder_q.' removed");
  }
  if (all_begin_with(tensors, {"backbone.", "head.", "dino_head.", "ibot_head."}) &&
      some_begin_with(tensors, "backbone.")) {
    keep_prefix(tensors, "backbone.", report.left_out);
    report.applied.push_back("DINO training checkpoint: the backbone, prefix 'backbone.' removed");
  }
  return report;
}

}  // namespace usol
