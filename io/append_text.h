#pragma once
// Text at the end of a file that grows while a training goes on.

#include <filesystem>
#include <string_view>

namespace usol::io {

/// Appends to a file, which is made if it is not there. Throws Error(kIo) naming it, with the system's reason.
void append_text(const std::filesystem::path& path, std::string_view text);

}  // namespace usol::io
