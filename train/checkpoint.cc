#include "usol/train/checkpoint.h"

#include <charconv>
#include <span>
#include <string_view>
#include <utility>

#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/io/stored_array.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::train {
namespace {

constexpr std::string_view kPrefix = "checkpoint_", kSuffix = ".safetensors";
constexpr const char* kChecksum = "checksum";

// Of names, types, shapes and values.
std::string checksum(const StateDict& tensors, const std::map<std::string, std::string>& metadata) {
  io::Sha256 hash;
  const auto add = [&](const std::string& text) { hash.update(std::as_bytes(std::span(text))); };
  for (const auto& [name, tensor] : tensors) {
    add(fmt::format("{} {} {}\n", name, tensor.dtype(), tensor.shape()));
    hash.update(io::bytes_of(io::storable(tensor)));
  }
  for (const auto& [key, value] : metadata)
    if (key != kChecksum) add(fmt::format("{} {} {}\n", key, value.size(), value));
  return "sha256:" + hash.finish();
}

// The number in "checkpoint_<number>.safetensors"; nothing for another name.
std::optional<std::int64_t> iteration_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const char* first = name.data() + kPrefix.size();
  const char* last = name.data() + name.size() - kSuffix.size();
  std::int64_t iteration = 0;
  if (first >= last) return std::nullopt;
  const auto [end, error] = std::from_chars(first, last, iteration);
  return end == last && error == std::errc() ? std::optional(iteration) : std::nullopt;
}

}  // namespace

void save_checked(const fs::path& path, const StateDict& tensors, const std::map<std::string, std::string>& metadata) {
  auto with_checksum = metadata;
  with_checksum[kChecksum] = checksum(tensors, metadata);
  io::save_safetensors(path, tensors, with_checksum);
}

StateDict entries_under(const StateDict& state, const std::string& prefix) {
  StateDict result;
  for (auto it = state.lower_bound(prefix); it != state.end() && it->first.starts_with(prefix); ++it)
    result[it->first.substr(prefix.size())] = it->second;
  return result;
}

SavedState read_checked(const fs::path& path) {
  io::SafetensorsContent content = io::read_safetensors(path);
  if (const auto found = content.metadata.find(kChecksum); found != content.metadata.end()) {
    const std::string expected = found->second, got = checksum(content.tensors, content.metadata);
    check(got == expected, ErrorKind::kFormat, "{}: damaged: expected checksum {}, got {}", path.string(), expected,
          got);
    content.metadata.erase(found);
  }
  return {path, std::move(content.tensors), std::move(content.metadata)};
}

CheckpointFolder::CheckpointFolder(fs::path folder, std::int64_t keep) : folder_(std::move(folder)), keep_(keep) {
  check(keep >= 1, "checkpoint: at least one file has to be kept, got {}", keep);
}

std::map<std::int64_t, fs::path> CheckpointFolder::files() const {
  std::map<std::int64_t, fs::path> found;
  if (!fs::is_directory(folder_)) return found;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (const auto iteration = iteration_of(entry.path().filename().string())) found[*iteration] = entry.path();
  return found;
}

fs::path CheckpointFolder::save(std::int64_t iteration, const StateDict& tensors,
                                const std::map<std::string, std::string>& metadata) const {
  fs::create_directories(folder_);
  fs::path path = folder_ / fmt::format("{}{:07}{}", kPrefix, iteration, kSuffix);
  save_checked(path, tensors, metadata);
  for (const auto& [other, newer] : files())
    if (other > iteration) fs::remove(newer);
  remove_old();
  return path;
}

void CheckpointFolder::remove_old() const {
  auto old = files();
  while (static_cast<std::int64_t>(old.size()) > keep_) {
    fs::remove(old.begin()->second);
    old.erase(old.begin());
  }
}

std::optional<fs::path> CheckpointFolder::newest() const {
  const auto all = files();
  return all.empty() ? std::nullopt : std::optional(all.rbegin()->second);
}

NewestState CheckpointFolder::load_newest() const {
  NewestState result;
  const auto all = files();
  for (auto file = all.rbegin(); file != all.rend() && !result.state; ++file) {
    try {
      result.state = read_checked(file->second);
    } catch (const Error& error) {
      result.damaged.emplace_back(error.what());
    }
  }
  check(result.state || all.empty(), ErrorKind::kFormat, "{}: no checkpoint is whole: {}", folder_.string(),
        fmt::join(result.damaged, "; "));
  if (result.damaged.empty()) remove_old();
  return result;
}

std::vector<fs::path> CheckpointFolder::all() const {
  std::vector<fs::path> paths;
  for (auto& [iteration, path] : files()) paths.push_back(path);
  return paths;
}

}  // namespace usol::train
