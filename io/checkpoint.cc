#include "usol/io/checkpoint.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "usol/io/key_map.h"
#include "usol/io/pickle_arrays.h"
#include "usol/io/pth.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

using Index = PickleTree::Index;

constexpr std::array<std::string_view, 4> kEntries = {"model", "state_dict", "teacher", "student"};
constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxVisits = std::size_t{1} << 20;

/// Walks the object of a pickle. Its nodes can be shared and circular, so depth and the number of entries are bounded.
class StateDictReader {
 public:
  StateDictReader(PickledFile& file, Checkpoint& out) : content_(file.content), tree_(file.content.tree()), out_(out) {}

  void read(const std::string& entry) {
    Index dict = tree_.root();
    if (tree_[dict].kind != PickleKind::kDict) {
      fail(ErrorKind::kFormat, fmt::format("checkpoint: {}: holds {} where a dict of tensors is expected", tree_.name(),
                                           content_.is_tensor(dict) ? "a single tensor" : "something"));
    }
    mark_holders();
    dict = entry.empty() ? find_state_dict(dict) : follow(dict, entry);
    flatten(dict, "", 0);
    check(!out_.tensors.empty(), ErrorKind::kFormat, "checkpoint: {}: no tensors in {}", tree_.name(),
          entries_of(tree_.root()));
  }

 private:
  /// Dicts that hold one another many times over would multiply: a few visits of each node are enough for honest files.
  void visit() {
    check(++visits_ <= std::min<std::size_t>(kMaxVisits, 1024 + 8 * std::size_t{tree_.size()}), ErrorKind::kFormat,
          "checkpoint: {}: too many entries", tree_.name());
  }
  std::string key_of(Index index) const {
    const PickleNode& node = tree_[index];
    if (node.kind == PickleKind::kInt) return std::to_string(node.integer);
    return node.kind == PickleKind::kString ? std::string(node.text) : "?";
  }
  /// "{model, optimizer, epoch}", for error texts.
  std::string entries_of(Index dict) const {
    std::string text = "{";
    const auto& items = tree_[dict].items;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      if (i > 0) text += ", ";
      if (i >= 40) return text + "...}";
      text += key_of(items[i]);
    }
    return text + "}";
  }
  /// Marks every dict that holds a tensor, directly or in a dict of its own: from the tensors upwards, each node once.
  void mark_holders() {
    std::vector<std::vector<Index>> dicts_with(tree_.size());
    std::vector<Index> marked;
    for (Index index = 0; index < tree_.size(); ++index) {
      if (content_.is_tensor(index)) marked.push_back(index);
      if (tree_[index].kind != PickleKind::kDict) continue;
      const auto& items = tree_[index].items;
      for (std::size_t i = 1; i < items.size(); i += 2) dicts_with[items[i]].push_back(index);
    }
    holds_.assign(tree_.size(), false);
    while (!marked.empty()) {
      const Index index = marked.back();
      marked.pop_back();
      for (const Index dict : dicts_with[index]) {
        if (!holds_[dict]) marked.push_back(dict);
        holds_[dict] = true;
      }
    }
  }
  bool holds_tensors(Index index) const { return holds_[index]; }
  void enter(Index dict, std::string_view key) {
    out_.entry += (out_.entry.empty() ? "" : ".") + std::string(key);
    remember_others(dict, key);
  }
  Index find_state_dict(Index dict) {
    for (int depth = 0; depth < kMaxDepth; ++depth) {
      bool found = false;
      for (const std::string_view key : kEntries) {
        const auto value = tree_.find(dict, key);
        if (!value || !holds_tensors(*value)) continue;
        enter(dict, key);
        dict = *value;
        found = true;
        break;
      }
      if (!found) break;
    }
    return dict;
  }
  Index follow(Index dict, std::string_view path) {
    while (!path.empty()) {
      const std::string_view key = path.substr(0, path.find('.'));
      const auto value = tree_.find(dict, key);
      check(value && holds_tensors(*value), ErrorKind::kUsage,
            "checkpoint: {}: no entry '{}' with tensors; the file holds {}", tree_.name(), key, entries_of(dict));
      enter(dict, key);
      dict = *value;
      path.remove_prefix(std::min(path.size(), key.size() + 1));
    }
    return dict;
  }
  /// Keeps what stands beside the chosen entry: plain values as metadata, the rest by name.
  void remember_others(Index dict, std::string_view chosen) {
    const auto& items = tree_[dict].items;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      visit();
      const std::string key = key_of(items[i]);
      if (key != chosen && !note(key, items[i + 1])) out_.left_out.push_back(key);
    }
  }
  /// Stores a plain value, or the settings of an argparse.Namespace, as metadata. False if it is something else.
  bool note(const std::string& key, Index index) {
    if (const auto text = plain(index)) {
      out_.metadata[key] = *text;
      return true;
    }
    if (!tree_.is_object(index, "argparse.Namespace") || tree_[index].state == PickleNode::kNoState) return false;
    const PickleNode& settings = tree_[tree_[index].state];
    if (settings.kind != PickleKind::kDict) return false;
    for (std::size_t i = 0; i < settings.items.size(); i += 2) {
      visit();
      if (const auto text = plain(settings.items[i + 1])) out_.metadata[key + "." + key_of(settings.items[i])] = *text;
    }
    return true;
  }
  std::optional<std::string> plain(Index index) const {
    const PickleNode& node = tree_[index];
    switch (node.kind) {
      case PickleKind::kNone:
        return "None";
      case PickleKind::kBool:
        return node.integer != 0 ? "True" : "False";
      case PickleKind::kInt:
        return std::to_string(node.integer);
      case PickleKind::kFloat:
        return fmt::format("{}", node.real);
      case PickleKind::kString:
        return std::string(node.text.substr(0, 1000));
      default:
        return std::nullopt;
    }
  }
  void flatten(Index dict, const std::string& prefix, int depth) {
    const auto& items = tree_[dict].items;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      visit();
      const std::string name = prefix + key_of(items[i]);
      const Index value = items[i + 1];
      if (content_.is_tensor(value)) {
        add(name, value);
      } else if (depth < kMaxDepth && holds_tensors(value)) {
        flatten(value, name + ".", depth + 1);
      } else if (!note(name, value)) {
        out_.left_out.push_back(name);
      }
    }
  }
  void add(const std::string& name, Index value) {
    try {
      out_.tensors.insert_or_assign(name, content_.tensor(value));
    } catch (const Error& error) {
      fail(error.kind(), fmt::format("{} (tensor '{}')", error.what(), name));
    }
  }

  PickledTensors& content_;
  const PickleTree& tree_;
  Checkpoint& out_;
  std::vector<bool> holds_;
  std::size_t visits_ = 0;
};

bool looks_like_safetensors(const SharedBytes& file) {
  if (file.size() < 9 || file.bytes[8] != std::byte{'{'}) return false;
  std::uint64_t header_bytes;
  std::memcpy(&header_bytes, file.bytes.data(), 8);
  return header_bytes >= 2 && header_bytes < (std::uint64_t{1} << 32);
}

}  // namespace

Checkpoint parse_checkpoint(const SharedBytes& file, const CheckpointOptions& options) {
  check(file.size() > 0, ErrorKind::kFormat, "checkpoint: {}: the file is empty", file.name);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.size());
  check(!text.starts_with("\x93NUMPY"), ErrorKind::kFormat,
        "checkpoint: {}: a single array (.npy), not a file of weights", file.name);
  Checkpoint out;
  if (looks_like_safetensors(file)) {
    check(options.entry.empty(), ErrorKind::kUsage, "checkpoint: {}: a safetensors file has no entry '{}'", file.name,
          options.entry);
    SafetensorsContent content = parse_safetensors(file);
    out.format = "safetensors";
    out.tensors = std::move(content.tensors);
    out.metadata = std::move(content.metadata);
    check(!out.tensors.empty(), ErrorKind::kFormat, "checkpoint: {}: no tensors", file.name);
  } else {
    const bool pickled =
        text.starts_with("PK") || text[0] == '\x80' || text[0] == '(' || text[0] == '}' || text[0] == 'c';
    check(pickled || (file.size() > 262 && text.substr(257, 5) == "ustar"), ErrorKind::kFormat,
          "checkpoint: {}: neither safetensors nor a PyTorch file nor a pickle (first bytes {:02x})", file.name,
          fmt::join(file.bytes.first(std::min<std::size_t>(8, file.size())), " "));
    PickledFile content = parse_pth(file);
    out.format = content.format;
    StateDictReader(content, out).read(options.entry);
  }
  if (options.map_keys) {
    KeyMapReport report = map_keys(out.tensors);
    out.applied = std::move(report.applied);
    out.left_out.insert(out.left_out.end(), report.left_out.begin(), report.left_out.end());
  }
  return out;
}

Checkpoint load_checkpoint(const std::filesystem::path& path, const CheckpointOptions& options) {
  return parse_checkpoint(map_file(path), options);
}

void save_checkpoint(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                     const std::map<std::string, std::string>& metadata) {
  const std::string extension = path.extension().string();
  if (extension == ".safetensors") return save_safetensors(path, tensors, metadata);
  if (extension == ".pth" || extension == ".pt") return save_pth(path, tensors);
  fail(ErrorKind::kUsage,
       fmt::format("checkpoint: {}: cannot write '{}' files; choose .safetensors or .pth", path.string(), extension));
}

}  // namespace usol
