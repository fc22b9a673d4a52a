#include "usol/io/pickle_globals.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace usol::io {
namespace {

constexpr auto kKnown = std::to_array<std::string_view>({
    // Containers and plain settings, kept as inert nodes.
    "argparse.Namespace",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.dict",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.set",
    "builtins.slice",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    // How pickle itself spells bytes (protocol 2) and objects (protocols 0 and 1).
    "_codecs.encode",
    "copyreg._reconstructor",
    // NumPy arrays, scalars and element types.
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.numeric._frombuffer",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.bool_",
    "numpy.float16",
    "numpy.float32",
    "numpy.float64",
    "numpy.int32",
    "numpy.int64",
    "numpy.uint8",
    // PyTorch tensors.
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch.Tensor",
    "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter",
    "torch.BFloat16Storage",
    "torch.BoolStorage",
    "torch.ByteStorage",
    "torch.CharStorage",
    "torch.DoubleStorage",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.IntStorage",
    "torch.LongStorage",
    "torch.ShortStorage",
    "torch.UntypedStorage",
    "torch.storage.UntypedStorage",
    "torch.Size",
    "torch.device",
    "torch.bfloat16",
    "torch.bool",
    "torch.float16",
    "torch.float32",
    "torch.float64",
    "torch.int16",
    "torch.int32",
    "torch.int64",
    "torch.int8",
    "torch.uint16",
    "torch.uint32",
    "torch.uint64",
    "torch.uint8",
});

// Modules whose functions start programs, run text as code, load code, or change files.
constexpr auto kActingModules = std::to_array<std::string_view>({
    "_pickle",    "_posixsubprocess",
    "asyncio",    "bdb",
    "code",       "codeop",
    "commands",   "ctypes",
    "importlib",  "marshal",
    "nt",         "os",
    "pdb",        "pickle",
    "pip",        "posix",
    "profile",    "pty",
    "requests",   "runpy",
    "shutil",     "socket",
    "subprocess", "sys",
    "timeit",     "webbrowser",
});
constexpr auto kActingBuiltins = std::to_array<std::string_view>({
    "__build_class__",
    "__import__",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "execfile",
    "file",
    "globals",
    "input",
    "locals",
    "open",
    "setattr",
    "vars",
});

template <std::size_t n>
bool is_among(const std::array<std::string_view, n>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

ResolvedGlobal resolve_pickle_global(std::string_view module, std::string_view name) {
  std::string full(module);
  if (module == "__builtin__") full = "builtins";
  if (module == "copy_reg") full = "copyreg";
  if (module.starts_with("numpy.core.")) full = "numpy._core." + full.substr(11);
  const std::string_view package = std::string_view(full).substr(0, full.find('.'));
  bool acts = is_among(kActingModules, package);
  // The attribute may itself be a path: protocol 4 writes nested names as "Outer.Inner".
  if (package == "builtins") acts = acts || is_among(kActingBuiltins, name.substr(0, name.find('.')));
  full.append(1, '.').append(name);
  if (is_among(kKnown, full)) return {PickleGlobal::kKnown, std::move(full)};
  return {acts ? PickleGlobal::kRunsCode : PickleGlobal::kForeign, std::move(full)};
}

}  // namespace usol::io
