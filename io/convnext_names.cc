#include "usol/io/convnext_names.h"

#include <optional>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using Tensors = std::map<std::string, Tensor>;

struct Renamed {
  std::string_view hub, original;  // of what stands before ".weight" and ".bias"
};

struct Layout {
  std::string_view hub, model;
  std::string_view blocks;  // what stands between the numbers of the stage and the block
  std::vector<Renamed> outside, in_stages, in_blocks;
};

const Layout kHuggingFace{"Hugging Face",
                          "DINOv3ConvNextModel",
                          "layers",
                          {{"layer_norm", "norm"}},
                          {{"downsample_layers.0", "0"}, {"downsample_layers.1", "1"}},
                          {{"depthwise_conv", "dwconv"},
                           {"layer_norm", "norm"},
                           {"pointwise_conv1", "pwconv1"},
                           {"pointwise_conv2", "pwconv2"}}};
const Layout kTimm{"timm",
                   "ConvNeXt",
                   "blocks",
                   {{"stem.0", "downsample_layers.0.0"}, {"stem.1", "downsample_layers.0.1"}, {"head.norm", "norm"}},
                   {{"downsample.0", "0"}, {"downsample.1", "1"}},
                   {{"conv_dw", "dwconv"}, {"norm", "norm"}, {"mlp.fc1", "pwconv1"}, {"mlp.fc2", "pwconv2"}}};

// "fc1.weight" with {"fc1", "pwconv1"} -> "pwconv1.weight"; empty for others.
std::string renamed(const std::vector<Renamed>& table, std::string_view name) {
  for (const Renamed& row : table) {
    if (!name.starts_with(row.hub)) continue;
    const std::string_view rest = name.substr(row.hub.size());
    if (rest == ".weight" || rest == ".bias") return std::string(row.original) + std::string(rest);
  }
  return {};
}

// "12.rest" -> "12", and the text without it and its dot; nothing if there is no number.
std::optional<std::string> take_number(std::string_view& text) {
  const std::size_t dot = text.find('.');
  const std::string_view number = text.substr(0, dot);
  if (dot == std::string_view::npos || number.empty() || number.find_first_not_of("0123456789") != number.npos)
    return std::nullopt;
  text.remove_prefix(dot + 1);
  return std::string(number);
}

// The original's name; empty if there is none.
std::string original_name(const Layout& layout, std::string_view name) {
  if (name.starts_with("model.")) name.remove_prefix(6);
  constexpr std::string_view kStages = "stages.";
  if (!name.starts_with(kStages)) return renamed(layout.outside, name);
  name.remove_prefix(kStages.size());
  const auto stage = take_number(name);
  if (!stage) return {};
  if (const std::string down = renamed(layout.in_stages, name); !down.empty())
    return fmt::format("downsample_layers.{}.{}", *stage, down);
  if (!name.starts_with(layout.blocks)) return {};
  name.remove_prefix(layout.blocks.size());
  if (!name.starts_with('.')) return {};
  name.remove_prefix(1);
  const auto block = take_number(name);
  if (!block) return {};
  const std::string inside = name == "gamma" ? "gamma" : renamed(layout.in_blocks, name);
  return inside.empty() ? inside : fmt::format("stages.{}.{}.{}", *stage, *block, inside);
}

const Layout* layout_of(const Tensors& tensors) {
  for (const char* prefix : {"", "model."})
    if (tensors.contains(std::string(prefix) + "stages.0.layers.0.depthwise_conv.weight")) return &kHuggingFace;
  return tensors.contains("stages.0.blocks.0.conv_dw.weight") && tensors.contains("stem.0.weight") ? &kTimm : nullptr;
}

}  // namespace

void convnext_to_original_names(Tensors& tensors, KeyMapReport& report) {
  const Layout* layout = layout_of(tensors);
  if (layout == nullptr) return;
  Tensors originals;
  for (const auto& [name, tensor] : tensors) {
    const std::string original = original_name(*layout, name);
    if (original.empty() && name.starts_with("head.")) {
      report.left_out.push_back(name);
      continue;
    }
    check(!original.empty(), ErrorKind::kFormat,
          "key map: the names are those of a ConvNeXt of {}'s, but '{}' is no part of {}", layout->hub, name,
          layout->model);
    const bool pointwise = original.find(".pwconv") != std::string::npos && tensor.rank() == 4 && tensor.size(2) == 1 &&
                           tensor.size(3) == 1;
    const Tensor value = pointwise ? tensor.select(3, 0).select(2, 0) : tensor;
    check(originals.emplace(original, value).second, ErrorKind::kFormat, "key map: two tensors become '{}'", original);
  }
  tensors = std::move(originals);
  report.applied.push_back(fmt::format("ConvNeXt: {}'s names became the original ones", layout->hub));
}

}  // namespace usol::io
