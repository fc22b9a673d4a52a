#pragma once
// check(condition, "op: expected X, got {}", value): throws Error when the condition is false.
// For .cc files: it formats with {fmt}, which .cu files cannot compile.

#include <fmt/format.h>

#include <utility>

#include "usol/tensor/error.h"
#include "usol/tensor/format.h"

namespace usol {

/// Throws Error(kind) with the formatted message unless `condition`. Arguments are formatted only on failure.
template <class... Args>
void check(bool condition, ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail(kind, fmt::format(format, std::forward<Args>(args)...));
}

/// As above with ErrorKind::kInvalidArgument.
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail(ErrorKind::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace usol
