#pragma once
// Which text is followed where a paper and its public code differ. docs/deviations.md lists the places; what either
// makes of a part of the method is said where that part is.

#include <string_view>

namespace usol {

enum class Preset { kPaper, kRelease };

/// "paper" or "release". Throws Error(kUsage) on another name.
Preset parse_preset(std::string_view name);

}  // namespace usol
