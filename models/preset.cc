#include "usol/models/preset.h"

#include "usol/tensor/check.h"

namespace usol {

Preset parse_preset(std::string_view name) {
  check(name == "paper" || name == "release", ErrorKind::kUsage, "preset: expected paper or release, got '{}'", name);
  return name == "paper" ? Preset::kPaper : Preset::kRelease;
}

}  // namespace usol
