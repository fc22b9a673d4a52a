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

/// Index after the number that begins at `at`; `at` itself if there is none.
std::size_t skip_number(std::string_view name, std::size_t at) {
  while (at < name.size() && name[at] >= '0' && name[at] <= '9') ++at;
  return at;
}

/// Where "blocks.<chunk>." ends in "blocks.<chunk>.<index>.rest"; 0 if the name is not like that.
std::size_t chunk_end(std::string_view name) {
  constexpr std::size_t kBegin = 7;  // of "<chunk>"
  const std::size_t chunk = skip_number(name, kBegin);
  if (chunk == kBegin || chunk >= name.size() || name[chunk] != '.') return 0;
  const std::size_t index = skip_number(name, chunk + 1);
  if (index == chunk + 1 || index >= name.size() || name[index] != '.') return 0;
  return chunk + 1;
}

/// Rule 4. True if it applied.
bool join_chunks(Tensors& tensors, const std::string& prefix) {
  Tensors joined;
  bool any = false;
  for (const auto& [name, tensor] : tensors) {
    std::string renamed = name;
    if (name.starts_with(prefix)) {
      const std::size_t end = chunk_end(name);
      if (end == 0) return false;
      renamed = prefix + name.substr(end);
      any = true;
    }
    check(joined.emplace(renamed, tensor).second, ErrorKind::kFormat, "key map: two tensors become '{}'", renamed);
  }
  if (any) tensors = std::move(joined);
  return any;
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
  if (join_chunks(tensors, "blocks."))
    report.applied.push_back("chunks of blocks joined: 'blocks.0.3.' is 'blocks.3.'");
  return report;
}

}  // namespace usol
