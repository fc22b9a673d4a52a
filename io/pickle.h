#pragma once
// Reads Python pickles (protocols 0 to 5) into a plain tree and executes nothing: a pickle is a program for a small
// stack machine, and here its "calls" only become nodes that name what would have been called. Classes of other
// programs (a trainer's settings, an enum, a date) are such nodes too; only names of functions that run code are errors
// (io/pickle_globals.h). io/pth.h and io/pickle_arrays.h make tensors of the nodes they know.
// Source: CPython, Lib/pickletools.py, for the opcodes.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "usol/io/shared_bytes.h"

namespace usol::io {

enum class PickleKind : std::uint8_t {
  kNone,
  kBool,        // integer
  kInt,         // integer
  kBigInt,      // text: little-endian two's complement, more than 8 bytes
  kFloat,       // real
  kString,      // text (UTF-8; raw bytes for a Python 2 str)
  kBytes,       // text
  kList,        // items; sets too
  kTuple,       // items
  kDict,        // items: key, value, key, value ...; OrderedDict, defaultdict and Counter too
                // kList and kDict of a foreign class derived from list or dict: text "module.name", foreign
  kGlobal,      // text: "module.name"; a global's attribute too: "module.name.attribute"
  kObject,      // a call that was not made: text "module.name", items: one node, the tuple of arguments (or nothing),
                // state: the argument of BUILD
  kPersistent,  // items: the id of something outside of the pickle (PyTorch's storages)
};

/// Nodes refer to each other by index. The same node may be reached along several ways, and in circles.
struct PickleNode {
  static constexpr std::uint32_t kNoState = 0xffffffffu;

  PickleKind kind = PickleKind::kNone;
  bool foreign = false;  // kGlobal, kObject, kList, kDict: named after something that is no part of weights
  std::uint32_t state = kNoState;
  std::int64_t integer = 0;
  double real = 0;
  std::string_view text;
  std::vector<std::uint32_t> items;
  std::size_t offset = 0;  // of the opcode that made it, for error texts
};

class PickleTree {
 public:
  using Index = std::uint32_t;

  const PickleNode& operator[](Index index) const { return nodes_[index]; }
  Index root() const { return root_; }
  Index size() const { return static_cast<Index>(nodes_.size()); }
  /// Where in the source the pickle ends, its final opcode included.
  std::size_t end() const { return end_; }
  /// Name of the source, for error texts.
  const std::string& name() const { return source_.name; }
  /// The bytes of a node's text, kept alive by their owner.
  SharedBytes bytes(const PickleNode& node) const;

  /// Value of a string key of a dict (the last one, as in Python); nothing if absent or `dict` is no dict.
  std::optional<Index> find(Index dict, std::string_view key) const;
  /// The arguments of an object's call; empty if it has none.
  const std::vector<Index>& arguments(Index object) const;
  /// Is it an object of that "module.name"?
  bool is_object(Index index, std::string_view global) const {
    return nodes_[index].kind == PickleKind::kObject && nodes_[index].text == global;
  }
  /// Throws Error(kFormat): "pickle: NAME: byte OFFSET: message".
  [[noreturn]] void fail_at(const PickleNode& node, const std::string& message) const;

 private:
  friend class PickleReader;

  std::vector<PickleNode> nodes_;
  std::deque<std::string> strings_;  // texts that are not in the source as they are
  SharedBytes source_;
  Index root_ = 0;
  std::size_t end_ = 0;
};

/// Parses the pickle that begins at byte `start` of `source`; bytes after it are left alone (see end()).
/// Time and memory are bounded by a multiple of the source's size, and there is no recursion.
/// Throws Error(kFormat) with the byte offset for a malformed pickle or one that asks to run code, Error(kUnsupported)
/// for opcodes that weights never use (extension registry, out-of-band buffers) or more than 2^22 objects.
PickleTree parse_pickle(const SharedBytes& source, std::size_t start = 0);

}  // namespace usol::io
