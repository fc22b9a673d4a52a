#include "cli/version.h"

namespace usol {

std::string_view version() { return USOL_VERSION; }

}  // namespace usol
