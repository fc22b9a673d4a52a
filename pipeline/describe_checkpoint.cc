#include "usol/pipeline/describe_checkpoint.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>

#include "usol/io/checkpoint_files.h"
#include "usol/io/utf8.h"
#include "usol/models/patch_backbone.h"
#include "usol/models/registry.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

std::string bytes_text(std::uintmax_t bytes) {
  if (bytes < 10000) return fmt::format("{} bytes", bytes);
  if (bytes < 10000000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3);
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// Numbers that training changes by gradients; a batch norm's statistics and DINOv3's constants are none.
std::int64_t count_parameters(const std::map<std::string, Tensor>& tensors) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    const bool other = name.ends_with("running_mean") || name.ends_with("running_var") ||
                       name.ends_with("num_batches_tracked") || name.ends_with("rope_embed.periods") ||
                       name.ends_with("attn.qkv.bias_mask");
    if (!other) count += tensor.numel();
  }
  return count;
}

// "blocks.3.attn" -> {"blocks.*.attn", 3}: the first number between dots is folded.
std::pair<std::string, std::int64_t> fold(const std::string& name) {
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (!part.empty() && part.size() <= 6 && part.find_first_not_of("0123456789") == std::string::npos) {
      return {name.substr(0, begin) + "*" + name.substr(end), std::stoll(part)};
    }
    begin = end + 1;
  }
  return {name, -1};
}

// One line per tensor; those that differ in one number only, with equal shape and dtype, share a line.
std::string tensor_lines(const std::map<std::string, CheckpointDescription::Entry>& tensors, bool every_tensor) {
  struct Line {
    std::string name, type;
    std::int64_t first = -1, last = -1, count = 0;
  };
  std::vector<Line> lines;
  std::map<std::pair<std::string, std::string>, std::size_t> known;
  std::size_t width = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::string type = fmt::format("{} {}", tensor.dtype, tensor.shape);
    auto [folded, number] = fold(name);
    if (every_tensor) folded = name;
    const auto [where, added] = known.try_emplace({folded, type}, lines.size());
    if (added) lines.push_back({name, type, number, number, 0});
    Line& line = lines[where->second];
    if (line.count++ > 0) line.name = folded;
    line.first = std::min(line.first, number);
    line.last = std::max(line.last, number);
  }
  for (Line& line : lines) {
    if (line.count > 1) {
      const std::string range = fmt::format("{{{}..{}}}", line.first, line.last);
      line.name.replace(line.name.find('*'), 1, range);
    }
    line.name = io::printable(line.name);
    width = std::max(width, line.name.size());
  }
  std::string text;
  for (const Line& line : lines) {
    text += fmt::format("  {:<{}}  {}{}\n", line.name, std::min<std::size_t>(width, 60), line.type,
                        line.count > 1 ? fmt::format("  x{}", line.count) : "");
  }
  return text;
}

std::string list_text(const std::string& title, const std::vector<std::string>& items, std::size_t most) {
  if (items.empty()) return "";
  std::string text = fmt::format("{}: ", title);
  for (std::size_t i = 0; i < std::min(items.size(), most); ++i) text += (i > 0 ? ", " : "") + io::printable(items[i]);
  if (items.size() > most) text += fmt::format(" and {} more", items.size() - most);
  return text + "\n";
}

// Why no loader takes the tensors as what they look like; empty if one does. The loader itself answers.
std::string refusal(const StateDict& tensors, const Description& description) {
  const auto& kinds = Registry<PatchBackboneKind>::all();
  const bool patch_backbone = std::any_of(kinds.begin(), kinds.end(), [&](const PatchBackboneKind& kind) {
    return static_cast<bool>(kind.recognise(tensors));
  });
  if (!patch_backbone && !description.architecture.ends_with("R-CNN")) return "";  // a training takes what fits
  for (const auto& [list, what] :
       {std::pair{&description.missing, "tensors are missing"}, std::pair{&description.mismatched, "shapes differ"},
        std::pair{&description.unexpected, "there are tensors beyond it"}})
    if (!list->empty()) return what;
  if (!patch_backbone) return "";
  try {
    static_cast<void>(load_patch_backbone(tensors, "the loader"));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

CheckpointDescription describe_checkpoint(const std::filesystem::path& path, const io::CheckpointOptions& options) {
  io::Checkpoint checkpoint = io::load_checkpoint(path, options);
  CheckpointDescription description;
  description.file = path.string();
  description.bytes = io::find_checkpoint_files(path).bytes();
  description.sha256 = io::checkpoint_sha256(path);
  for (const auto& [name, tensor] : checkpoint.tensors) description.tensors[name] = {tensor.dtype(), tensor.shape()};
  description.parameters = count_parameters(checkpoint.tensors);
  description.model = describe_weights(checkpoint.tensors);
  description.refused = refusal(checkpoint.tensors, description.model);
  description.format = std::move(checkpoint.format);
  description.entry = std::move(checkpoint.entry);
  description.applied = std::move(checkpoint.applied);
  description.left_out = std::move(checkpoint.left_out);
  description.metadata = std::move(checkpoint.metadata);
  return description;
}

std::string CheckpointDescription::text(bool every_tensor) const {
  std::string out = fmt::format("{}\n", file);
  const auto line = [&](const std::string& key, const std::string& value) {
    out += fmt::format("  {:<14}{}\n", key, io::printable(value));
  };
  line("format", format);
  line("size", bytes_text(bytes));
  line("SHA-256", sha256);
  if (!entry.empty()) line("entry", entry);
  for (const std::string& how : applied) line("names", how);
  line("tensors", std::to_string(tensors.size()));
  line("parameters", parameters < 100000 ? std::to_string(parameters)
                                         : fmt::format("{:.2f} M", static_cast<double>(parameters) / 1e6));
  if (model.architecture.empty())
    line("fits", "no architecture known here");
  else if (refused.empty())
    line("fits", model.architecture);
  else
    line("fits", "nothing; closest to " + model.architecture + ", but " + refused);
  for (const auto& [key, value] : model.facts) line("  " + key, value);
  out += list_text("missing", model.missing, 8);
  out += list_text("wrong shape", model.mismatched, 8);
  out += list_text("beyond the architecture", model.unexpected, 8);
  out += list_text("left out", left_out, 8);
  if (!metadata.empty()) {
    out += "beside the tensors:\n";
    for (const auto& [key, value] : metadata) {
      out += fmt::format("  {} = {}\n", io::printable(key), io::printable(value.substr(0, 200)));
    }
  }
  out += "tensors:\n" + tensor_lines(tensors, every_tensor);
  return out;
}

nlohmann::ordered_json CheckpointDescription::json() const {
  const auto all_printable = [](std::vector<std::string> texts) {
    for (std::string& text : texts) text = io::printable(text);
    return texts;
  };
  nlohmann::ordered_json out;
  out["file"] = io::printable(file);
  out["format"] = format;
  out["bytes"] = bytes;
  out["sha256"] = sha256;
  out["entry"] = io::printable(entry);
  out["names"] = applied;
  out["parameters"] = parameters;
  out["architecture"] = model.architecture;
  out["refused"] = io::printable(refused);
  out["facts"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : model.facts) out["facts"][key] = value;
  out["missing"] = all_printable(model.missing);
  out["mismatched"] = all_printable(model.mismatched);
  out["unexpected"] = all_printable(model.unexpected);
  out["left_out"] = all_printable(left_out);
  out["metadata"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : metadata) out["metadata"][io::printable(key)] = io::printable(value);
  out["tensors"] = nlohmann::ordered_json::object();
  for (const auto& [name, tensor] : tensors) {
    out["tensors"][io::printable(name)] = {
        {"dtype", to_string(tensor.dtype)},
        {"shape", std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end())}};
  }
  return out;
}

}  // namespace usol
