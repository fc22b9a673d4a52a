#include "usol/pipeline/merge_shards.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "usol/io/coco.h"
#include "usol/io/json_stream.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/outputs.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

struct ShardFile {
  std::string path;
  Shard shard;
  Json info;
  std::vector<io::CocoCategory> categories;
};

ShardFile read_head(const std::string& path) {
  check(fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
  io::AnnotationSet set = io::read_coco(path, {.images = false, .annotations = false});
  ShardFile file{path, {}, Json::parse(set.info_json, nullptr, false), std::move(set.categories)};
  check(file.info.is_object() && file.info.contains("shard") && file.info["shard"].is_string(), ErrorKind::kUsage,
        "{}: is no shard (its info has no \"shard\", which says K/N)", path);
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

// All shards in order. Throws Error(kUsage) unless they are 1..N.
std::vector<ShardFile> collect(const std::vector<std::string>& paths) {
  std::vector<ShardFile> files;
  for (const auto& path : paths) files.push_back(read_head(path));
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
Json merged_info(const Run& run, const std::vector<ShardFile>& files) {
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
    run.warn("the shards were made on different devices ({}): one device may give other last digits",
             fmt::join(devices, "; "));
  }
  info["device"] = fmt::format("{}", fmt::join(devices, "; "));
  if (!failed.empty()) info["failed"] = std::move(failed);
  return info;
}

}  // namespace

int merge_shards(const Run& run, const std::vector<std::string>& shards, const std::string& out) {
  check(!shards.empty(), ErrorKind::kUsage, "no shards to merge");
  const std::vector<ShardFile> files = collect(shards);
  const Json info = merged_info(run, files);
  Outputs outputs(run);
  outputs.reads(shards);
  const std::string file = outputs.file("out", out);
  if (run.dry_run) {
    run.note("would join {} shards into {}", files.size(), file);
    return kSuccess;
  }
  make_folder_of(file);
  RecordAssembler assembler(file);
  for (const ShardFile& shard : files) {
    io::JsonSplitter splitter{fs::path(shard.path)};
    for (io::JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
      run.throw_if_stopped();
      if (piece.kind != io::JsonPiece::Kind::kElement) continue;
      if (piece.key == "images") assembler.add_image(piece.text);
      if (piece.key == "annotations") assembler.add_annotation(piece.text);
    }
  }
  assembler.finish(files[0].categories, info);
  run.note("wrote {}: {} images, {} annotations, from {} shards", file, assembler.images(), assembler.annotations(),
           files.size());
  if (info.contains("failed")) run.warn("{} images had failed; info.failed names them", info["failed"].size());
  return kSuccess;
}

}  // namespace usol
