#pragma once
// How much memory this process may still take: for plans and warnings, before the system ends it.

#include <filesystem>

namespace usol {

/// In bytes: what the system has available, or less, where a control group (a container's, a batch system's; v1 or v2)
/// that the process is in, or one around it, allows less. Files in its cache count as free: they make room. `root` is
/// where /proc and /sys are looked up.
double free_memory(const std::filesystem::path& root = "/");

}  // namespace usol
