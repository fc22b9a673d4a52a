#include "tests/support/program_on_path.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace fs = std::filesystem;

namespace usol::test {

std::string program_on_path(const std::vector<std::string>& names) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');)
    for (const std::string& name : names)
      if (fs::exists(fs::path(folder) / name)) return fs::path(folder) / name;
  return {};
}

}  // namespace usol::test
