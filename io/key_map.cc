#include "usol/io/key_map.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "usol/io/convnext_names.h"
#include "usol/io/hub_names.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using Tensors = std::map<std::string, Tensor>;

bool begins_with_any(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view p) { return name.starts_with(p); });
}

bool all_begin_with(const Tensors& tensors, std::initializer_list<std::string_view> prefixes) {
  return !tensors.empty() &&
         std::all_of(tensors.begin(), tensors.end(), [&](const auto& t) { return begins_with_any(t.first, prefixes); });
}

bool some_begin_with(const Tensors& tensors, std::string_view prefix) {
  const auto first = tensors.lower_bound(std::string(prefix));
  return first != tensors.end() && first->first.starts_with(prefix);
}

bool has_detector_backbone(const Tensors& tensors) {
  return some_begin_with(tensors, "backbone.bottom_up.") || some_begin_with(tensors, "backbone.net.") ||
         some_begin_with(tensors, "backbone.fpn_") || some_begin_with(tensors, "backbone.simfp_");
}

// ---- what is wrapped around a model ----

/// Rule 1: the part, if any, that wrappers put into some names. Removes it wherever it begins a name or follows a dot.
bool remove_part(Tensors& tensors, std::string_view part) {
  Tensors renamed;
  bool any = false;
  for (const auto& [name, tensor] : tensors) {
    std::string plain = name;
    for (std::size_t at = 0; (at = plain.find(part, at)) != std::string::npos;) {
      if (at > 0 && plain[at - 1] != '.') {
        at += part.size();
        continue;
      }
      plain.erase(at, part.size());
      any = true;
    }
    check(renamed.emplace(plain, tensor).second, ErrorKind::kFormat, "key map: two tensors become '{}'", plain);
  }
  if (any) tensors = std::move(renamed);
  return any;
}

/// Rules 1 to 5, the first that applies. False if none does.
bool unwrap(Tensors& tensors, KeyMapReport& report) {
  for (const char* part : {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."}) {
    if (!remove_part(tensors, part)) continue;
    report.applied.push_back(fmt::format("'{}' removed", part));
    return true;
  }
  const auto take = [&](const char* prefix, const std::string& sentence) {
    keep_prefix(tensors, prefix, report.left_out);
    report.applied.push_back(fmt::format("{}prefix '{}' removed", sentence, prefix));
    return true;
  };
  if (all_begin_with(tensors, {"module."})) return take("module.", "");
  if (all_begin_with(tensors, {"model."})) return take("model.", "");
  if (all_begin_with(tensors, {"teacher.", "student.", "dino_loss.", "ibot_patch_loss.", "ibot_loss.", "koleo_loss.",
                               "model_ema.", "gram_teacher.", "gram_loss."})) {
    for (const char* net : {"teacher.", "student."})
      if (some_begin_with(tensors, net)) return take(net, "nets of a self-distillation: ");
  }
  if (all_begin_with(tensors, {"encoder_q.", "encoder_k.", "queue", "backbone."}) &&
      some_begin_with(tensors, "encoder_q.")) {
    if (some_begin_with(tensors, "encoder_q.0.") &&
        all_begin_with(tensors, {"encoder_q.0.", "encoder_q.1.", "encoder_k.", "queue", "backbone."}))
      return take("encoder_q.0.", "DenseCL checkpoint: the query encoder's backbone, ");
    return take("encoder_q.", "MoCo checkpoint: the query encoder, ");
  }
  if (all_begin_with(tensors, {"backbone.", "head.", "dino_head.", "ibot_head."}) &&
      some_begin_with(tensors, "backbone.") && !has_detector_backbone(tensors))
    return take("backbone.", "DINO training checkpoint: the backbone, ");
  return false;
}

/// Rule 8.
void leave_out_classifier(Tensors& tensors, KeyMapReport& report) {
  const bool vit = tensors.contains("patch_embed.proj.weight") && tensors.contains("blocks.0.attn.qkv.weight") &&
                   (tensors.contains("pos_embed") || tensors.contains("rope_embed.periods"));
  if (!vit) return;
  const std::size_t before = report.left_out.size();
  std::erase_if(tensors, [&](const auto& item) {
    const bool part = begins_with_any(item.first, {"head.", "head_dist.", "fc_norm.", "pre_logits."});
    if (part) report.left_out.push_back(item.first);
    return part;
  });
  if (report.left_out.size() > before)
    report.applied.push_back(fmt::format(
        "a classifier's parts left out: {}",
        fmt::join(report.left_out.begin() + static_cast<std::ptrdiff_t>(before), report.left_out.end(), ", ")));
}

// ---- chunks, ResNets ----

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

/// Rule 6. True if it applied.
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

/// "conv1.weight" -> "stem.conv1.weight", "layer2.3.bn1.bias" -> "res3.3.conv1.norm.bias"; empty if it is neither.
std::string detectron2_name(const std::string& name) {
  if (name == "conv1.weight") return "stem." + name;
  if (name.starts_with("bn1.")) return "stem.conv1.norm" + name.substr(3);
  constexpr std::string_view kLayer = "layer";
  if (!name.starts_with(kLayer) || name.size() <= kLayer.size() + 2) return {};
  const char stage = name[kLayer.size()];
  const std::size_t block = kLayer.size() + 2, end = skip_number(name, block);
  if (stage < '1' || stage > '4' || name[block - 1] != '.' || end == block || end >= name.size() || name[end] != '.')
    return {};
  const std::string place = std::string("res") + static_cast<char>(stage + 1) + "." + name.substr(block, end - block);
  const std::string rest = name.substr(end + 1);
  if (rest == "downsample.0.weight") return place + ".shortcut.weight";
  if (rest.starts_with("downsample.1.")) return place + ".shortcut.norm." + rest.substr(13);
  const bool numbered = rest.size() > 3 && rest.find_first_of("123") != std::string::npos;
  if (numbered && rest.starts_with("conv") && rest.substr(5) == ".weight") return place + "." + rest;
  if (numbered && rest.starts_with("bn") && rest.substr(3, 1) == ".")
    return place + ".conv" + rest.substr(2, 1) + ".norm" + rest.substr(3);
  return {};
}

}  // namespace

KeyMapReport resnet_to_detectron2(Tensors& tensors, const std::string& prefix) {
  KeyMapReport report;
  Tensors renamed;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with("fc.") || name.ends_with(".num_batches_tracked")) {
      report.left_out.push_back(name);
      continue;
    }
    const std::string detectron2 = detectron2_name(name);
    check(!detectron2.empty(), ErrorKind::kFormat,
          "key map: '{}' is not part of a ResNet with torchvision's names (conv1, bn1, layer1 ... layer4)", name);
    renamed.emplace(prefix + detectron2, tensor);
  }
  check(!renamed.empty(), ErrorKind::kFormat, "key map: no ResNet with torchvision's names, there is nothing");
  tensors = std::move(renamed);
  report.applied.push_back("ResNet: torchvision's names became Detectron2's");
  return report;
}

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

KeyMapReport map_keys(Tensors& tensors) {
  KeyMapReport report;
  constexpr int kMaxWrappers = 16;
  for (int i = 0; i < kMaxWrappers && unwrap(tensors, report); ++i) {
  }
  if (join_chunks(tensors, "blocks."))
    report.applied.push_back("chunks of blocks joined: 'blocks.0.3.' is 'blocks.3.'");
  hub_to_original_names(tensors, report);
  convnext_to_original_names(tensors, report);
  leave_out_classifier(tensors, report);
  return report;
}

}  // namespace usol::io
