#include "tests/support/temp_dir.h"

#include <stdlib.h>

#include <system_error>

#include "usol/tensor/error.h"

namespace usol::test {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "usol-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) fail(ErrorKind::kIo, "cannot make a temporary folder like " + name);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace usol::test
