#include "usol/models/describe.h"

#include <fmt/format.h>

#include <functional>
#include <optional>
#include <utility>

#include "usol/models/detector.h"
#include "usol/models/patch_backbone.h"
#include "usol/models/resnet.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/error.h"
#include "usol/tensor/format.h"

namespace usol {
namespace {

bool is_counter(const std::string& name) { return name.ends_with(".num_batches_tracked"); }

// Lists how the tensors differ from what a model asks for when it is made. `renamed` gives the file's name of a
// parameter. The lists stay empty for sizes that fit no model.
void compare(const StateDict& tensors, const std::function<void(const Scope&)>& make, Description& out,
             const std::function<std::string(const std::string&)>& renamed = {}) {
  ParamStore store = ParamStore::shapes_only();
  try {
    make(Scope(store));
  } catch (const Error&) {
    return;
  }
  StateDict expected;
  for (const auto& [name, entry] : store.entries()) expected[renamed ? renamed(name) : name] = entry.tensor;
  for (const auto& [name, tensor] : expected) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      out.missing.push_back(fmt::format("{} {}", name, tensor.shape()));
    } else if (!(found->second.shape() == tensor.shape())) {
      out.mismatched.push_back(fmt::format("{}: expected {}, got {}", name, tensor.shape(), found->second.shape()));
    }
  }
  for (const auto& [name, tensor] : tensors)
    if (!expected.contains(name)) out.unexpected.push_back(name);
}

std::optional<Description> describe_patch_backbone(const StateDict& tensors) {
  for (const PatchBackboneKind& kind : Registry<PatchBackboneKind>::all()) {
    auto out = kind.describe(tensors);
    if (!out) continue;
    if (const auto make = kind.recognise(tensors))
      compare(
          tensors, [&](const Scope& scope) { make(scope); }, *out);
    return out;
  }
  return std::nullopt;
}

std::optional<Description> describe_detector(const StateDict& tensors) {
  for (const DetectorKind& kind : Registry<DetectorKind>::all()) {
    auto out = kind.describe(tensors);
    if (!out) continue;
    if (const auto make = kind.recognise(tensors))
      compare(
          tensors, [&](const Scope& scope) { make(scope, Device{}, DType::kF32); }, *out);
    std::erase_if(out->unexpected, [&](const auto& name) { return kind.leave_out(name) || is_counter(name); });
    return out;
  }
  return std::nullopt;
}

// "stem.conv1.norm.weight" -> "bn1.weight", "res2.0.conv1.norm.bias" -> "layer1.0.bn1.bias": a ResNet's parameter under
// torchvision's names. The other way is io/key_map.h's.
std::string torchvision_name(const std::string& name) {
  const auto after = [](const std::string& text, const std::string& part, const std::string& instead) {
    const std::size_t at = text.find(part);
    return at == std::string::npos ? text : text.substr(0, at) + instead + text.substr(at + part.size());
  };
  if (name.starts_with("stem.")) return after(name.substr(5), "conv1.norm.", "bn1.");
  std::string text = "layer" + std::to_string(name[3] - '1') + name.substr(4);
  text = after(after(text, "shortcut.norm.", "downsample.1."), "shortcut.", "downsample.0.");
  for (const std::string number : {"1", "2", "3"}) text = after(text, "conv" + number + ".norm.", "bn" + number + ".");
  return text;
}

// Torchvision's names as Detectron2's, so that sizes are read off both alike: those that matter for it.
StateDict in_detectron2_names(const StateDict& tensors) {
  StateDict renamed;
  for (const auto& [name, tensor] : tensors) {
    if (name == "conv1.weight") renamed["stem." + name] = tensor;
    if (name.starts_with("layer") && name.size() > 6 && name[5] >= '1' && name[5] <= '4')
      renamed["res" + std::to_string(name[5] - '0' + 1) + name.substr(6)] = tensor;
  }
  return renamed;
}

std::optional<Description> describe_resnet(const StateDict& tensors) {
  struct Layout {
    std::string names, prefix;  // Detectron2's also as part of a detector
  };
  for (const Layout& layout :
       {Layout{"torchvision", ""}, Layout{"Detectron2", ""}, Layout{"Detectron2", "backbone.bottom_up."}}) {
    const bool torchvision = layout.names == "torchvision";
    const auto config = resnet_config(torchvision ? in_detectron2_names(tensors) : tensors, layout.prefix);
    if (!config) continue;
    Description out;
    out.architecture = resnet_name(config->blocks);
    out.facts = {
        {"blocks", fmt::format("{}", fmt::join(config->blocks, "-"))},
        {"stem width", std::to_string(config->stem_channels)},
        {"names", layout.names + "'s" + (layout.prefix.empty() ? "" : fmt::format(", behind '{}'", layout.prefix))}};
    const auto renamed = [&](const std::string& name) {
      return torchvision ? torchvision_name(name) : layout.prefix + name;
    };
    compare(
        tensors, [&](const Scope& scope) { ResNet(scope, *config); }, out, renamed);
    std::erase_if(out.unexpected, is_counter);
    return out;
  }
  return std::nullopt;
}

}  // namespace

Description describe_weights(const std::map<std::string, Tensor>& tensors) {
  if (auto backbone = describe_patch_backbone(tensors)) return *backbone;
  if (auto detector = describe_detector(tensors)) return *detector;
  if (auto resnet = describe_resnet(tensors)) return *resnet;
  return {};
}

}  // namespace usol
