#include "usol/io/hub_names.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "usol/io/dinov3_names.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using Tensors = std::map<std::string, Tensor>;

struct Renamed {
  std::string_view hub, original;
};

using Table = std::span<const Renamed>;

// Whole names, and what follows a layer's number: either a name or, with a dot at its end, what names begin with.
constexpr Renamed kOutside[] = {{"embeddings.cls_token", "cls_token"},
                                {"embeddings.mask_token", "mask_token"},
                                {"embeddings.position_embeddings", "pos_embed"},
                                {"embeddings.register_tokens", "register_tokens"},
                                {"embeddings.patch_embeddings.projection.", "patch_embed.proj."},
                                {"layernorm.", "norm."}};
constexpr Renamed kInLayers[] = {{"layernorm_before.", "norm1."},
                                 {"layernorm_after.", "norm2."},
                                 {"norm1.", "norm1."},
                                 {"norm2.", "norm2."},
                                 {"attention.output.dense.", "attn.proj."},
                                 {"intermediate.dense.", "mlp.fc1."},
                                 {"output.dense.", "mlp.fc2."},
                                 {"mlp.fc1.", "mlp.fc1."},
                                 {"mlp.fc2.", "mlp.fc2."},
                                 {"mlp.weights_in.", "mlp.w12."},
                                 {"mlp.weights_out.", "mlp.w3."},
                                 {"layer_scale1.lambda1", "ls1.gamma"},
                                 {"layer_scale2.lambda1", "ls2.gamma"}};
constexpr Renamed kDinov3Outside[] = {{"embeddings.cls_token", "cls_token"},
                                      {"embeddings.mask_token", "mask_token"},
                                      {"embeddings.register_tokens", "storage_tokens"},
                                      {"embeddings.patch_embeddings.", "patch_embed.proj."},
                                      {"norm.", "norm."}};
constexpr Renamed kDinov3InLayers[] = {{"norm1.", "norm1."},
                                       {"norm2.", "norm2."},
                                       {"attention.o_proj.", "attn.proj."},
                                       {"mlp.up_proj.", "mlp.fc1."},
                                       {"mlp.down_proj.", "mlp.fc2."},
                                       {"layer_scale1.lambda1", "ls1.gamma"},
                                       {"layer_scale2.lambda1", "ls2.gamma"}};
constexpr Renamed kDinov3GatedInLayers[] = {{"norm1.", "norm1."},
                                            {"norm2.", "norm2."},
                                            {"attention.o_proj.", "attn.proj."},
                                            {"mlp.gate_proj.", "mlp.w1."},
                                            {"mlp.up_proj.", "mlp.w2."},
                                            {"mlp.down_proj.", "mlp.w3."},
                                            {"layer_scale1.lambda1", "ls1.gamma"},
                                            {"layer_scale2.lambda1", "ls2.gamma"}};

// What a model of Hugging Face's calls its tensors.
struct Layout {
  Table outside, in_layers;
  std::string_view patches;  // the patches' projection
  std::string_view layer;    // what stands before a layer's number
  std::array<std::string_view, 3> qkv;
  std::string_view in_first;  // what layer 0 must have
  bool keys_have_bias;        // where queries and values have one
  std::string_view models;    // for errors
};
constexpr std::array<std::string_view, 3> kDinov3Qkv = {"attention.q_proj.", "attention.k_proj.", "attention.v_proj."};
constexpr std::string_view kDinov3Patches = "embeddings.patch_embeddings.weight", kDinov3 = "DINOv3ViTModel";
constexpr std::string_view kGate = "mlp.gate_proj.weight", kUp = "mlp.up_proj.weight";
// The first that fits counts.
constexpr Layout kLayouts[] = {
    {kOutside,
     kInLayers,
     "embeddings.patch_embeddings.projection.weight",
     "encoder.layer.",
     {"attention.attention.query.", "attention.attention.key.", "attention.attention.value."},
     "attention.attention.query.weight",
     true,
     "ViTModel, Dinov2Model or Dinov2WithRegistersModel"},
    {kDinov3Outside, kDinov3GatedInLayers, kDinov3Patches, "layer.", kDinov3Qkv, kGate, false, kDinov3},
    {kDinov3Outside, kDinov3GatedInLayers, kDinov3Patches, "model.layer.", kDinov3Qkv, kGate, false, kDinov3},
    {kDinov3Outside, kDinov3InLayers, kDinov3Patches, "layer.", kDinov3Qkv, kUp, false, kDinov3},
    {kDinov3Outside, kDinov3InLayers, kDinov3Patches, "model.layer.", kDinov3Qkv, kUp, false, kDinov3}};

std::string original_name(Table table, std::string_view name) {
  for (const Renamed& row : table) {
    const bool whole = row.hub.back() != '.';
    if (whole ? name == row.hub : name.starts_with(row.hub) && name.find('.', row.hub.size()) == std::string_view::npos)
      return std::string(row.original) + std::string(name.substr(row.hub.size()));
  }
  return {};
}

/// What stands before "embeddings." in the names, if they are the layout's.
std::optional<std::string> prefix_of(const Tensors& tensors, const Layout& layout) {
  for (const auto& [name, tensor] : tensors) {
    if (!name.ends_with(layout.patches)) continue;
    const std::string prefix = name.substr(0, name.size() - layout.patches.size());
    if ((prefix.empty() || prefix.ends_with('.')) &&
        tensors.contains(fmt::format("{}{}0.{}", prefix, layout.layer, layout.in_first)))
      return prefix;
  }
  return std::nullopt;
}

/// Query, key and value of one layer's weight or bias, by the original's name of the whole.
using Thirds = std::map<std::string, std::array<Tensor, 3>>;

/// The original's name of a tensor inside a layer, `rest` being what follows Layout::layer; empty if there is none.
/// Queries, keys and values are put into `thirds` instead, and their name is "qkv".
std::string layer_name(const Layout& layout, std::string_view rest, const Tensor& tensor, Thirds& thirds) {
  const std::size_t dot = rest.find('.');
  const std::string_view layer = rest.substr(0, dot);
  if (dot == std::string_view::npos || layer.empty() || layer.size() > 6 ||
      layer.find_first_not_of("0123456789") != std::string_view::npos)
    return {};
  const std::string block = fmt::format("blocks.{}.", layer);
  rest.remove_prefix(dot + 1);
  for (std::size_t i = 0; i < layout.qkv.size(); ++i) {
    if (!rest.starts_with(layout.qkv[i])) continue;
    const std::string_view part = rest.substr(layout.qkv[i].size());
    if (part != "weight" && part != "bias") return {};
    thirds[block + "attn.qkv." + std::string(part)][i] = tensor;
    return "qkv";
  }
  const std::string inside = original_name(layout.in_layers, rest);
  return inside.empty() ? inside : block + inside;
}

void hugging_face(Tensors& tensors, const Layout& layout, const std::string& prefix, KeyMapReport& report) {
  Tensors renamed;
  Thirds thirds;
  const auto is_dropped = [](std::string_view name) {
    return name.starts_with("pooler.") || name.starts_with("classifier.") || name.starts_with("decoder.");
  };
  for (const auto& [name, tensor] : tensors) {
    const bool inside = name.starts_with(prefix);
    const std::string_view rest = std::string_view(name).substr(inside ? prefix.size() : 0);
    if (is_dropped(rest)) {
      report.left_out.push_back(name);
      continue;
    }
    std::string original;
    if (inside && rest.starts_with(layout.layer))
      original = layer_name(layout, rest.substr(layout.layer.size()), tensor, thirds);
    else if (inside)
      original = original_name(layout.outside, rest);
    check(!original.empty(), ErrorKind::kFormat,
          "key map: the names are those of a vision transformer of Hugging Face's, but '{}' is no part of {}", name,
          layout.models);
    if (original == "qkv") continue;
    Tensor value = tensor;
    // The original DINOv2 and DINOv3 keep it without the middle axis.
    if (original == "mask_token" && value.rank() == 3 && value.size(0) == 1) value = value.select(0, 0);
    check(renamed.emplace(original, value).second, ErrorKind::kFormat, "key map: two tensors become '{}'", original);
  }
  for (const auto& [name, parts] : thirds) {
    if (!layout.keys_have_bias && name.ends_with(".bias") && !parts[1].defined())
      add_bias_without_keys(renamed, name, parts[0], parts[2]);
    else
      renamed.emplace(name, joined_qkv(name, parts));
  }
  tensors = std::move(renamed);
  report.applied.push_back("Hugging Face's names became the original ones, query, key and value one matrix");
}

/// timm's registers. The class token already has its position's row, so that row becomes zero.
void timm_registers(Tensors& tensors, KeyMapReport& report) {
  const auto registers = tensors.find("reg_token"), position = tensors.find("pos_embed");
  if (registers == tensors.end() || position == tensors.end() || !tensors.contains("cls_token")) return;
  const Tensor patches = position->second;
  const std::int64_t rows = patches.rank() == 3 ? patches.size(1) : 0;
  const auto side = std::llround(std::sqrt(static_cast<double>(rows)));
  check(patches.numel() > 0 && side * side == rows && patches.size(0) == 1, ErrorKind::kFormat,
        "key map: 'pos_embed' beside 'reg_token': expected [1, n n, D], positions of the patches alone, got {}",
        patches.shape());
  check(!tensors.contains("register_tokens"), ErrorKind::kFormat, "key map: two tensors become 'register_tokens'");
  Tensor whole = Tensor::zeros({1, rows + 1, patches.size(2)}, patches.dtype());
  whole.slice(1, 1, rows + 1).copy_from(patches);
  position->second = whole;
  tensors["register_tokens"] = registers->second;
  tensors.erase(registers);
  report.applied.push_back(
      "timm's registers: 'reg_token' is 'register_tokens', the class token's row of 'pos_embed' is in 'cls_token'");
}

/// timm's gated MLP under a plain one's names.
void timm_gated_mlp(Tensors& tensors, KeyMapReport& report) {
  const auto wide = tensors.find("blocks.0.mlp.fc1.weight"), narrow = tensors.find("blocks.0.mlp.fc2.weight");
  if (wide == tensors.end() || narrow == tensors.end() || wide->second.rank() != 2 || narrow->second.rank() != 2)
    return;
  const std::int64_t hidden = narrow->second.size(1);
  if (hidden <= 0 || wide->second.size(0) % 2 != 0 || wide->second.size(0) / 2 != hidden) return;
  Tensors renamed;
  for (const auto& [name, tensor] : tensors) {
    std::string original = name;
    for (const auto& [hub, theirs] : {std::pair{".mlp.fc1.", ".mlp.w12."}, std::pair{".mlp.fc2.", ".mlp.w3."}}) {
      const std::size_t at = name.starts_with("blocks.") ? name.find(hub) : std::string::npos;
      if (at != std::string::npos)
        original = name.substr(0, at) + theirs + name.substr(at + std::string_view(hub).size());
    }
    check(renamed.emplace(original, tensor).second, ErrorKind::kFormat, "key map: two tensors become '{}'", original);
  }
  tensors = std::move(renamed);
  report.applied.push_back("timm's gated MLP: 'mlp.fc1' is 'mlp.w12', 'mlp.fc2' is 'mlp.w3'");
}

}  // namespace

void hub_to_original_names(Tensors& tensors, KeyMapReport& report) {
  for (const Layout& layout : kLayouts) {
    const auto prefix = prefix_of(tensors, layout);
    if (!prefix) continue;
    hugging_face(tensors, layout, *prefix, report);
    break;
  }
  if (!tensors.contains("patch_embed.proj.weight") || !tensors.contains("blocks.0.attn.qkv.weight")) return;
  timm_registers(tensors, report);
  timm_gated_mlp(tensors, report);
  complete_dinov3(tensors, report);
}

}  // namespace usol::io
