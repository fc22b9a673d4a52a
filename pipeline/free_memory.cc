#include "usol/pipeline/free_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// The number after a name, or 0: /proc/meminfo has "MemAvailable: 5 kB", memory.stat "inactive_file 5".
double number_of(const fs::path& path, const std::string& wanted) {
  std::ifstream file(path);
  std::string name;
  for (double value = 0; file >> name >> value; file.ignore(64, '\n'))
    if (name == wanted) return value;
  return 0;
}

// The number that a file holds; `otherwise` where there is no file, or the word "max" in it.
double number_in(const fs::path& path, double otherwise) {
  std::ifstream file(path);
  double value = 0;
  return file >> value ? value : otherwise;
}

double available_to_all(const fs::path& root) {
  const double kib = number_of(root / "proc/meminfo", "MemAvailable:");
  if (kib > 0) return kib * 1024;
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 2;
}

// What the two versions call their files.
struct Version {
  const char *controllers, *folder, *limit, *usage, *cache_prefix;
};
constexpr Version kVersions[] = {
    {"", "sys/fs/cgroup", "memory.max", "memory.current", ""},
    {"memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"}};

double left_in(const fs::path& group, const Version& version) {
  double used = number_in(group / version.usage, 0);
  for (const char* cache : {"inactive_file", "active_file"})
    used -= number_of(group / "memory.stat", std::string(version.cache_prefix) + cache);
  return number_in(group / version.limit, kUnlimited) - std::max(used, 0.0);
}

}  // namespace

double free_memory(const fs::path& root) {
  double free = available_to_all(root);
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/slurm/job_1", "0::/user.slice"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    for (const Version& version : kVersions) {
      if (line.substr(first + 1, second - first - 1) != version.controllers) continue;
      // A container may see its own group alone, at the top, whatever its path is outside.
      for (fs::path path = fs::path(line.substr(second + 1)).relative_path();; path = path.parent_path()) {
        free = std::min(free, left_in(root / version.folder / path, version));
        if (path.empty()) break;
      }
    }
  }
  return std::max(free, 0.0);
}

}  // namespace usol
