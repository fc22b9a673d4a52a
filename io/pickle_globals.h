#pragma once
// What the names mean that a pickle mentions: those that files of weights are made of, classes of other programs, and
// functions that have no place in such a file.

#include <string>
#include <string_view>

namespace usol::io {

enum class PickleGlobal {
  kKnown,    // what PyTorch, NumPy and Detectron2 write into files of weights, and plain settings
  kForeign,  // a class or function of another program: its objects stay nodes that nothing looks into
  kRunsCode  // does something when called, whatever the arguments: files that ask for it are refused
};

struct ResolvedGlobal {
  PickleGlobal kind;
  /// "module.name", with Python 2's and old NumPy's module names brought to today's ("numpy._core.multiarray.
  /// _reconstruct").
  std::string name;
};

/// Nothing is ever called, so kRunsCode is no line of defence: it is there to tell users what they were given before
/// they open it with Python.
ResolvedGlobal resolve_pickle_global(std::string_view module, std::string_view name);

}  // namespace usol::io
