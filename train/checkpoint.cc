#include "usol/train/checkpoint.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "usol/io/safetensors.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::train {
namespace {

constexpr std::string_view kPrefix = "checkpoint_", kSuffix = ".safetensors";

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
  save_safetensors(path, tensors, metadata);
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

std::optional<SavedState> CheckpointFolder::load_newest() const {
  const auto path = newest();
  if (!path) return std::nullopt;
  remove_old();
  SafetensorsContent content = read_safetensors(*path);
  return SavedState{*path, std::move(content.tensors), std::move(content.metadata)};
}

}  // namespace usol::train
