// usol merge: the outputs of --shard 1/N ... N/N -> the one file that a single run would have written, byte for byte.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "cli/image_job.h"
#include "cli/inputs.h"
#include "cli/journal.h"
#include "cli/signals.h"
#include "cli/verb.h"
#include "io/json_stream.h"
#include "tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

struct ShardFile {
  std::string path;
  Shard shard;
  Json info;
  std::vector<CocoCategory> categories;
};

ShardFile read_head(const std::string& path) {
  check(fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
  ShardFile file{path, {}, nullptr, {}};
  JsonSplitter splitter{fs::path(path)};
  for (JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
    throw_if_interrupted();
    if (piece.key == "info" && piece.kind == JsonPiece::Kind::kValue) {
      file.info = Json::parse(piece.text, nullptr, false);
    } else if (piece.key == "categories" && piece.kind == JsonPiece::Kind::kElement) {
      const Json category = Json::parse(piece.text, nullptr, false);
      check(category.is_object(), ErrorKind::kFormat, "{}: categories[{}]: malformed", path, piece.index);
      file.categories.push_back(
          {category.value("id", std::int64_t{0}), category.value("name", ""), category.value("supercategory", "")});
    }
  }
  check(file.info.is_object() && file.info.contains("shard") && file.info["shard"].is_string(), ErrorKind::kUsage,
        "{}: is no shard (its info has no \"shard\"; --shard K/N makes them)", path);
  file.shard = Shard::parse(file.info["shard"].get<std::string>());
  return file;
}

std::set<std::string> split_devices(const Json& info) {
  std::set<std::string> devices;
  std::string text = info.value("device", "");
  for (std::size_t end = text.find("; "); end != std::string::npos; end = text.find("; ")) {
    devices.insert(text.substr(0, end));
    text.erase(0, end + 2);
  }
  devices.insert(text);
  return devices;
}

class MergeVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Checks that the files are all parts of one run, and writes what that run would have written without --shard, "
        "byte for byte.");
    options.group("Merging");
    options.positional("SHARD", shards_, "Outputs of runs with --shard K/N: all N of them, in any order");
    options.add("--out FILE", out_, "The COCO file to write", OptionKind::kRun);
    options.example("usol maskcut images --weights W.pth --out part1.json --shard 1/2", "Two halves, on two machines,");
    options.example("usol maskcut images --weights W.pth --out part2.json --shard 2/2", "the second one,");
    options.example("usol merge part1.json part2.json --out all.json",
                    "and the file that one machine would have written");
  }

  int run(const Common& common, const Options&) override {
    check(!shards_.empty(), ErrorKind::kUsage, "no input: give the outputs of all shards");
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    const auto files = collect();
    Json info = merged_info(common, files);
    if (common.dry_run) {
      common.note("would join {} shards into {}", files.size(), out_);
      return kSuccess;
    }
    check(common.force || !fs::exists(out_), ErrorKind::kUsage, "{} exists; --force replaces it", out_);
    RecordAssembler assembler(out_);
    for (const auto& file : files) {
      JsonSplitter splitter{fs::path(file.path)};
      for (JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
        throw_if_interrupted();
        if (piece.kind != JsonPiece::Kind::kElement) continue;
        if (piece.key == "images") assembler.add_image(piece.text);
        if (piece.key == "annotations") assembler.add_annotation(piece.text);
      }
    }
    assembler.finish(files[0].categories, info);
    common.note("wrote {}: {} images, {} annotations, from {} shards", out_, assembler.images(),
                assembler.annotations(), files.size());
    if (info.contains("failed")) common.warn("{} images had failed; info.failed names them", info["failed"].size());
    return kSuccess;
  }

 private:
  // All shards in order. Throws Error(kUsage) unless they are 1..N.
  std::vector<ShardFile> collect() const {
    std::vector<ShardFile> files;
    for (const auto& path : shards_) files.push_back(read_head(path));
    std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.shard.index < b.shard.index; });
    const auto count = files[0].shard.count;
    std::vector<std::string> missing;
    std::int64_t expected = 1;
    for (const auto& file : files) {
      check(file.shard.count == count, ErrorKind::kUsage, "{} is one of {} shards, {} one of {}", files[0].path, count,
            file.path, file.shard.count);
      check(file.shard.index >= expected, ErrorKind::kUsage, "{} is shard {}/{} a second time", file.path,
            file.shard.index, count);
      for (; expected < file.shard.index; ++expected) missing.push_back(fmt::format("{}/{}", expected, count));
      ++expected;
    }
    for (; expected <= count; ++expected) missing.push_back(fmt::format("{}/{}", expected, count));
    if (missing.size() > 20) missing.resize(20);
    check(missing.empty(), ErrorKind::kUsage, "shards are missing: {}", fmt::join(missing, ", "));
    return files;
  }

  // What one run's info would be. Throws Error(kUsage) if the shards are parts of different runs.
  static Json merged_info(const Common& common, const std::vector<ShardFile>& files) {
    const auto common_part = [](Json info) {
      for (const char* key : {"shard", "device", "failed"}) info.erase(key);
      return info;
    };
    Json info = common_part(files[0].info);
    std::set<std::string> devices;
    Json failed = Json::array();
    for (const auto& file : files) {
      const std::string changed = describe_differences(info, common_part(file.info));
      check(changed.empty(), ErrorKind::kUsage, "{} and {} are not parts of one run: {}", files[0].path, file.path,
            changed);
      devices.merge(split_devices(file.info));
      if (file.info.contains("failed"))
        failed.insert(failed.end(), file.info["failed"].begin(), file.info["failed"].end());
    }
    if (devices.size() > 1) {
      common.warn("the shards were made on different devices ({}): one device may give other last digits",
                  fmt::join(devices, "; "));
    }
    info["device"] = fmt::format("{}", fmt::join(devices, "; "));
    if (!failed.empty()) info["failed"] = std::move(failed);
    return info;
  }

  std::vector<std::string> shards_;
  std::string out_;
};

const RegisterVerb<MergeVerb> kMerge("merge", "join the outputs of --shard runs into the file of one run");

}  // namespace
}  // namespace usol
