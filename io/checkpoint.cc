#include "usol/io/checkpoint.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "usol/io/checkpoint_files.h"
#include "usol/io/key_map.h"
#include "usol/io/pickle_arrays.h"
#include "usol/io/placeholder.h"
#include "usol/io/pth.h"
#include "usol/io/safetensors.h"
#include "usol/io/stored_array.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using Index = PickleTree::Index;

constexpr std::array<std::string_view, 4> kEntries = {"model", "state_dict", "teacher", "student"};
constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxVisits = std::size_t{1} << 20;

/// Walks the object of a pickle. Its nodes can be shared and circular, so depth and the number of entries are bounded.
class StateDictReader {
 public:
  StateDictReader(PickledFile& file, Checkpoint& out) : content_(file.content), tree_(file.content.tree()), out_(out) {}

  /// `entry`: see CheckpointOptions, without its prefix. `search`: look for the state dict where no entry is given.
  void read(const std::string& entry, bool search) {
    Index dict = tree_.root();
    if (tree_[dict].kind != PickleKind::kDict)
      fail(ErrorKind::kFormat, fmt::format("checkpoint: {}: holds {} where a dict of tensors is expected{}",
                                           tree_.name(), in_words(dict), remedy_for(dict)));
    mark_holders();
    if (!entry.empty())
      dict = follow(dict, entry);
    else if (search)
      dict = find_state_dict(dict);
    flatten(dict, "", 0);
    if (out_.tensors.empty()) {
      Index model = tree_.root();
      for (const Index value : tree_[dict].items)
        if (is_module(value)) model = value;
      fail(ErrorKind::kFormat, fmt::format("checkpoint: {}: no tensors in {}{}", tree_.name(), entries_of(tree_.root()),
                                           remedy_for(model)));
    }
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
  /// Is it an object of PyTorch's nn.Module or of a class derived from it?
  bool is_module(Index index) const {
    const PickleNode& node = tree_[index];
    return node.kind == PickleKind::kObject && node.state != PickleNode::kNoState &&
           tree_.find(node.state, "_parameters") && tree_.find(node.state, "_modules");
  }
  std::string in_words(Index index) const {
    if (content_.is_tensor(index)) return "a single tensor";
    const PickleNode& node = tree_[index];
    if (is_module(index)) return "a whole model";
    if (node.kind == PickleKind::kObject) return fmt::format("an object of '{}'", node.text.substr(0, 200));
    return node.kind == PickleKind::kList || node.kind == PickleKind::kTuple ? "a list" : "something";
  }
  std::string remedy_for(Index index) const {
    if (!is_module(index)) return "";
    return fmt::format(
        "; a whole model (an object of '{}') needs the program that made it: load it there and save its state_dict() "
        "with PyTorch. Nothing was run",
        tree_[index].text.substr(0, 200));
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
    out_.entry += (out_.entry.empty() ? "" : "/") + std::string(key);
    remember_others(dict, key);
  }
  Index find_state_dict(Index dict) {
    for (int depth = 0; depth < kMaxDepth; ++depth) {
      bool found = false;
      for (const std::string_view key : kEntries) {
        const auto value = tree_.find(dict, key);
        if (value && is_module(*value))
          fail(ErrorKind::kFormat,
               fmt::format("checkpoint: {}: '{}' is {}{}", tree_.name(), key, in_words(*value), remedy_for(*value)));
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
      // A key may have dots of its own; where there is no such key, dots separate keys as slashes do.
      std::string_view key = path.substr(0, path.find('/'));
      auto value = tree_.find(dict, key);
      if (!value) {
        key = key.substr(0, key.find('.'));
        value = tree_.find(dict, key);
      }
      check(value && holds_tensors(*value), ErrorKind::kUsage,
            "checkpoint: {}: no entry '{}' with tensors; the file holds {}{}", tree_.name(), key, entries_of(dict),
            names_begin_with(dict, fmt::format("{}.", key))
                ? fmt::format(" (a prefix of names ends with a dot: '{}.')", key)
                : "");
      enter(dict, key);
      dict = *value;
      path.remove_prefix(std::min(path.size(), key.size() + 1));
    }
    return dict;
  }
  bool names_begin_with(Index dict, const std::string& prefix) const {
    const auto& items = tree_[dict].items;
    for (std::size_t i = 0; i < items.size(); i += 2)
      if (tree_[items[i]].kind == PickleKind::kString && tree_[items[i]].text.starts_with(prefix)) return true;
    return false;
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
  /// Stores a plain value as metadata, or the plain values among an object's attributes: of an argparse.Namespace, of
  /// a trainer's settings. False if it is something else.
  bool note(const std::string& key, Index index) {
    if (const auto text = plain(index)) {
      out_.metadata[key] = *text;
      return true;
    }
    const PickleNode& object = tree_[index];
    Index settings = index;  // of a class derived from dict
    if (object.kind == PickleKind::kObject && object.state != PickleNode::kNoState && !is_module(index))
      settings = object.state;
    else if (object.kind != PickleKind::kDict || !object.foreign)
      return false;
    if (tree_[settings].kind != PickleKind::kDict) return false;
    const auto& items = tree_[settings].items;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      visit();
      if (const auto text = plain(items[i + 1])) out_.metadata[key + "." + key_of(items[i])] = *text;
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
      } else if (tree_[value].kind == PickleKind::kObject && tree_[value].text.starts_with("torch._utils._rebuild_")) {
        // Sparse, quantised, ... : numbers that must not vanish without a word.
        fail(ErrorKind::kUnsupported,
             fmt::format("checkpoint: {}: tensor '{}' is of a kind that is not supported ('{}')", tree_.name(), name,
                         tree_[value].text));
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

/// What CheckpointOptions::entry says.
struct Choice {
  std::string path;    // of entries
  std::string prefix;  // of names in the last of them
};
Choice parse_choice(const std::string& entry) {
  if (!entry.ends_with('.')) return {entry, ""};
  const std::size_t slash = entry.rfind('/');
  if (slash == std::string::npos) return {"", entry};
  return {entry.substr(0, slash), entry.substr(slash + 1)};
}

/// "'backbone.', 'head.'": what names begin with.
std::string beginnings_of(const std::map<std::string, Tensor>& tensors) {
  std::set<std::string> found;
  for (const auto& [name, tensor] : tensors) {
    if (found.size() == 20) break;
    found.insert(name.substr(0, std::min(name.find('.'), name.size() - 1) + 1));
  }
  return fmt::format("'{}'", fmt::join(found, "', '"));
}

bool any_begins_with(const std::map<std::string, Tensor>& tensors, const std::string& prefix) {
  const auto first = tensors.lower_bound(prefix);
  return first != tensors.end() && first->first.starts_with(prefix);
}

void take_prefix(Checkpoint& out, const std::string& prefix, const std::string& file) {
  check(any_begins_with(out.tensors, prefix), ErrorKind::kUsage,
        "checkpoint: {}: no name of a tensor begins with '{}'; they begin with {}", file, prefix,
        beginnings_of(out.tensors));
  keep_prefix(out.tensors, prefix, out.left_out);
  out.entry += (out.entry.empty() ? "" : "/") + prefix;
}

/// A line for each type whose tensors came as another one.
void say_widened(const std::set<StoredType>& types, Checkpoint& out) {
  for (const StoredType type : types)
    out.applied.push_back(fmt::format("tensors of {} are read as {}: the values are the same, the type is wider",
                                      name_of(type), dtype_of_stored(type)));
}

Checkpoint read_pickled(const SharedBytes& file, const Choice& choice) {
  PickledFile content = parse_pth(file);
  const auto read = [&](bool search) {
    Checkpoint out;
    out.format = content.format;
    StateDictReader(content, out).read(choice.path, search);
    say_widened(content.content.widened(), out);
    return out;
  };
  Checkpoint out = read(true);
  // A prefix alone is looked for in the state dict, and then in the whole file.
  if (choice.path.empty() && !choice.prefix.empty() && !any_begins_with(out.tensors, choice.prefix)) out = read(false);
  return out;
}

/// One file's tensors under its own names.
Checkpoint read_file(const SharedBytes& file, const Choice& choice) {
  check(file.size() > 0, ErrorKind::kFormat, "checkpoint: {}: the file is empty", file.name);
  refuse_placeholder(file.bytes, file.name, "a file of weights");
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.size());
  check(!text.starts_with("\x93NUMPY"), ErrorKind::kFormat,
        "checkpoint: {}: a single array (.npy), not a file of weights", file.name);
  if (looks_like_safetensors(file)) {
    check(choice.path.empty(), ErrorKind::kUsage,
          "checkpoint: {}: a safetensors file has no entry '{}' (a prefix of names ends with a dot: '{}.')", file.name,
          choice.path, choice.path);
    SafetensorsContent content = parse_safetensors(file);
    Checkpoint out;
    out.format = "safetensors";
    say_widened(content.widened, out);
    out.tensors = std::move(content.tensors);
    out.metadata = std::move(content.metadata);
    check(!out.tensors.empty(), ErrorKind::kFormat, "checkpoint: {}: no tensors", file.name);
    return out;
  }
  const bool pickled =
      text.starts_with("PK") || text[0] == '\x80' || text[0] == '(' || text[0] == '}' || text[0] == 'c';
  check(pickled || (file.size() > 262 && text.substr(257, 5) == "ustar"), ErrorKind::kFormat,
        "checkpoint: {}: neither safetensors nor a PyTorch file nor a pickle (it begins with {})", file.name,
        beginning_of(file.bytes));
  return read_pickled(file, choice);
}

/// The tensors that an index lists, each from its file.
Checkpoint read_parts(const CheckpointFiles& files, const Choice& choice) {
  const std::string name = files.index.string();
  check(choice.path.empty(), ErrorKind::kUsage, "checkpoint: {}: an index of weights has no entry '{}'", name,
        choice.path);
  const CheckpointIndex index = parse_checkpoint_index(map_file(files.index));
  Checkpoint out;
  for (const std::filesystem::path& path : files.parts) {
    Checkpoint part = read_file(map_file(path), {});
    out.format = fmt::format("{} in {} files", part.format, files.parts.size());
    for (auto& [tensor, value] : part.tensors) {
      const auto listed = index.file_of.find(tensor);
      if (listed != index.file_of.end() && listed->second == path.filename())
        out.tensors.emplace(tensor, std::move(value));
      else
        out.left_out.push_back(tensor);
    }
    out.metadata.merge(part.metadata);
    for (std::string& text : part.applied)
      if (std::find(out.applied.begin(), out.applied.end(), text) == out.applied.end())
        out.applied.push_back(std::move(text));
  }
  for (const auto& [tensor, part] : index.file_of)
    check(out.tensors.contains(tensor), ErrorKind::kFormat, "checkpoint: {}: lists tensor '{}' in {}, which lacks it",
          name, tensor, part);
  return out;
}

/// What is done to the tensors of any file: a prefix chosen, names mapped.
Checkpoint finished(Checkpoint out, const Choice& choice, const CheckpointOptions& options, const std::string& name) {
  if (!choice.prefix.empty()) take_prefix(out, choice.prefix, name);
  if (!options.map_keys) return out;
  KeyMapReport report;
  try {
    report = map_keys(out.tensors);
    if (options.resnet_as_detectron2 && out.tensors.contains("layer1.0.conv1.weight")) {
      const KeyMapReport resnet = resnet_to_detectron2(out.tensors);
      report.applied.insert(report.applied.end(), resnet.applied.begin(), resnet.applied.end());
      report.left_out.insert(report.left_out.end(), resnet.left_out.begin(), resnet.left_out.end());
    }
  } catch (const Error& error) {
    fail(error.kind(), fmt::format("checkpoint: {}: {}", name, error.what()));
  }
  out.applied.insert(out.applied.end(), report.applied.begin(), report.applied.end());
  out.left_out.insert(out.left_out.end(), report.left_out.begin(), report.left_out.end());
  return out;
}

}  // namespace

Checkpoint parse_checkpoint(const SharedBytes& file, const CheckpointOptions& options) {
  const Choice choice = parse_choice(options.entry);
  return finished(read_file(file, choice), choice, options, file.name);
}

Checkpoint load_checkpoint(const std::filesystem::path& path, const CheckpointOptions& options) {
  const Choice choice = parse_choice(options.entry);
  const CheckpointFiles files = find_checkpoint_files(path);
  std::map<std::string, std::string> config;
  for (const std::filesystem::path& file : {files.config, files.preprocessor})
    if (!file.empty()) config.merge(read_hub_config(map_file(file)));
  Checkpoint out = files.index.empty() ? read_file(map_file(files.parts[0]), choice) : read_parts(files, choice);
  for (auto& [key, value] : config) out.metadata.emplace("config." + key, value);
  return finished(std::move(out), choice, options, path.string());
}

void save_checkpoint(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                     const std::map<std::string, std::string>& metadata) {
  const std::string extension = path.extension().string();
  if (extension == ".safetensors") return save_safetensors(path, tensors, metadata);
  if (extension == ".pth" || extension == ".pt") return save_pth(path, tensors);
  fail(ErrorKind::kUsage,
       fmt::format("checkpoint: {}: cannot write '{}' files; choose .safetensors or .pth", path.string(), extension));
}

}  // namespace usol::io
