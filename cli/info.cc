#include "usol/cli/info.h"

#include <simdjson.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "usol/cli/options.h"
#include "usol/cli/verb.h"
#include "usol/io/checkpoint_files.h"
#include "usol/models/describe.h"
#include "usol/models/vit.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

/// Makes text from a file harmless on a terminal and valid in JSON.
std::string printable(const std::string& text) {
  const bool utf8 = simdjson::validate_utf8(text);
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8)) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

std::string bytes_text(std::uintmax_t bytes) {
  if (bytes < 10000) return fmt::format("{} bytes", bytes);
  if (bytes < 10000000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3);
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

/// Numbers that training changes by gradients; a batch norm's statistics are none.
std::int64_t count_parameters(const std::map<std::string, Tensor>& tensors) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    const bool statistic =
        name.ends_with("running_mean") || name.ends_with("running_var") || name.ends_with("num_batches_tracked");
    if (!statistic) count += tensor.numel();
  }
  return count;
}

/// "blocks.3.attn" -> {"blocks.*.attn", 3}: the first number between dots is folded.
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

/// One line per tensor; those that differ in one number only, with equal shape and dtype, share a line.
std::string tensor_lines(const std::map<std::string, Tensor>& tensors, bool every_tensor) {
  struct Line {
    std::string name, type;
    std::int64_t first = -1, last = -1, count = 0;
  };
  std::vector<Line> lines;
  std::map<std::pair<std::string, std::string>, std::size_t> known;
  std::size_t width = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::string type = fmt::format("{} {}", tensor.dtype(), tensor.shape());
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
    line.name = printable(line.name);
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
  for (std::size_t i = 0; i < std::min(items.size(), most); ++i) text += (i > 0 ? ", " : "") + printable(items[i]);
  if (items.size() > most) text += fmt::format(" and {} more", items.size() - most);
  return text + "\n";
}

/// Why no verb takes the tensors as what they look like; empty if one does. The loader itself answers: what `usol
/// maskcut` and `usol predict` refuse, this refuses.
std::string refusal(const io::Checkpoint& checkpoint, const Description& description) {
  const bool vit = vit_config(checkpoint.tensors).has_value();
  if (!vit && !description.architecture.ends_with("R-CNN")) return "";  // backbones: a training takes what fits
  for (const auto& [list, what] :
       {std::pair{&description.missing, "tensors are missing"}, std::pair{&description.mismatched, "shapes differ"},
        std::pair{&description.unexpected, "there are tensors beyond it"}})
    if (!list->empty()) return what;
  if (!vit) return "";
  try {
    static_cast<void>(Vit::from_state(checkpoint.tensors, "the loader"));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

class InfoVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.positional(
        "WEIGHTS", files_,
        "Files of weights: .pth, .bin, .pkl or .safetensors, an index of several (.json), a hub's folder");
    options.add("--entry NAME", info_.checkpoint.entry,
                "Look at this entry of the file's dict (\"student\", \"a/b\") or at names behind a prefix "
                "(\"model/teacher.\", a dot at its end)",
                OptionKind::kRun);
    options.flag("--raw-names", raw_names_, "Show names as the file has them", OptionKind::kRun);
    options.flag("--json", json_, "One line of JSON per file instead of text", OptionKind::kRun);
    options.example("usol info dino_deitsmall16_pretrain.pth", "what the file holds, and which model it fits");
    options.example("usol info -v --entry student full_checkpoint.pth", "another entry, every tensor listed");
  }

  int run(const Run& run, const Options&) override {
    check(!files_.empty(), ErrorKind::kUsage, "no file given; try `usol info WEIGHTS`");
    info_.checkpoint.map_keys = !raw_names_;
    info_.every_tensor = run.verbosity == Verbosity::kDetailed;
    int failed = 0;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      try {
        const std::string text = json_ ? info_json(files_[i], info_) + "\n" : info_text(files_[i], info_);
        fmt::print("{}{}", i > 0 && !json_ ? "\n" : "", text);
      } catch (const Error& error) {
        if (files_.size() == 1) throw;
        run.warn("{}", error.what());
        ++failed;
      }
    }
    return failed == 0 ? kSuccess : kSomeInputsFailed;
  }

 private:
  std::vector<std::string> files_;
  InfoOptions info_;
  bool raw_names_ = false, json_ = false;
};

const RegisterVerb<InfoVerb> kInfo("info", "what a file of weights holds, and which model it fits");

}  // namespace

std::string info_text(const std::filesystem::path& path, const InfoOptions& options) {
  const io::Checkpoint checkpoint = io::load_checkpoint(path, options.checkpoint);
  const Description description = describe_weights(checkpoint.tensors);
  std::string text = fmt::format("{}\n", path.string());
  const auto line = [&](const std::string& key, const std::string& value) {
    text += fmt::format("  {:<14}{}\n", key, printable(value));
  };
  line("format", checkpoint.format);
  line("size", bytes_text(io::find_checkpoint_files(path).bytes()));
  line("SHA-256", io::checkpoint_sha256(path));
  if (!checkpoint.entry.empty()) line("entry", checkpoint.entry);
  for (const std::string& applied : checkpoint.applied) line("names", applied);
  line("tensors", std::to_string(checkpoint.tensors.size()));
  const std::int64_t parameters = count_parameters(checkpoint.tensors);
  line("parameters", parameters < 100000 ? std::to_string(parameters)
                                         : fmt::format("{:.2f} M", static_cast<double>(parameters) / 1e6));
  const std::string refused = refusal(checkpoint, description);
  if (description.architecture.empty())
    line("fits", "no architecture known here");
  else if (refused.empty())
    line("fits", description.architecture);
  else
    line("fits", "nothing; closest to " + description.architecture + ", but " + refused);
  for (const auto& [key, value] : description.facts) line("  " + key, value);
  text += list_text("missing", description.missing, 8);
  text += list_text("wrong shape", description.mismatched, 8);
  text += list_text("beyond the architecture", description.unexpected, 8);
  text += list_text("left out", checkpoint.left_out, 8);
  if (!checkpoint.metadata.empty()) {
    text += "beside the tensors:\n";
    for (const auto& [key, value] : checkpoint.metadata) {
      text += fmt::format("  {} = {}\n", printable(key), printable(value.substr(0, 200)));
    }
  }
  text += "tensors:\n" + tensor_lines(checkpoint.tensors, options.every_tensor);
  return text;
}

std::string info_json(const std::filesystem::path& path, const InfoOptions& options) {
  const io::Checkpoint checkpoint = io::load_checkpoint(path, options.checkpoint);
  const Description description = describe_weights(checkpoint.tensors);
  const auto all_printable = [](std::vector<std::string> texts) {
    for (std::string& text : texts) text = printable(text);
    return texts;
  };
  nlohmann::ordered_json json;
  json["file"] = printable(path.string());
  json["format"] = checkpoint.format;
  json["bytes"] = io::find_checkpoint_files(path).bytes();
  json["sha256"] = io::checkpoint_sha256(path);
  json["entry"] = printable(checkpoint.entry);
  json["names"] = checkpoint.applied;
  json["parameters"] = count_parameters(checkpoint.tensors);
  json["architecture"] = description.architecture;
  json["refused"] = printable(refusal(checkpoint, description));
  json["facts"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : description.facts) json["facts"][key] = value;
  json["missing"] = all_printable(description.missing);
  json["mismatched"] = all_printable(description.mismatched);
  json["unexpected"] = all_printable(description.unexpected);
  json["left_out"] = all_printable(checkpoint.left_out);
  json["metadata"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : checkpoint.metadata) json["metadata"][printable(key)] = printable(value);
  json["tensors"] = nlohmann::ordered_json::object();
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const Shape& shape = tensor.shape();
    json["tensors"][printable(name)] = {{"dtype", to_string(tensor.dtype())},
                                        {"shape", std::vector<std::int64_t>(shape.begin(), shape.end())}};
  }
  return json.dump();
}

}  // namespace usol::cli
