#pragma once
// Files that stand where another file should be: what a download that went wrong, or a clone without its large files,
// leaves behind under the name of the picture or of the weights. Every reader asks here before it judges a file.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace usol::io {

struct Placeholder {
  std::string what;    // "a git-LFS pointer", "a web page (HTML)" ...
  std::string remedy;  // "fetch the file itself (88199168 bytes) with 'git lfs pull'"
};

/// Recognises a git-LFS pointer, a git-annex pointer, a web page and a download server's error in XML; nothing for any
/// other content.
/// Source: git-lfs, docs/spec.md, for the pointer; git-annex, "pointer file".
std::optional<Placeholder> recognise_placeholder(std::span<const std::byte> bytes);

/// Throws Error(kFormat) "NAME: this is WHAT, not EXPECTED: REMEDY" if the bytes are one of these. `expected`: what the
/// reader wanted, "a picture".
void refuse_placeholder(std::span<const std::byte> bytes, std::string_view name, std::string_view expected);

/// The beginning of a file for error texts: its first line in quotes if that is text, else its first bytes in
/// hexadecimal.
std::string beginning_of(std::span<const std::byte> bytes);

}  // namespace usol::io
