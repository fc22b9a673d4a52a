#pragma once
// The program's version, as written into every output's `info`.

#include <string_view>

namespace usol {

std::string_view version();

}  // namespace usol
