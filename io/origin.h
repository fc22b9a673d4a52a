#pragma once
// Whether a file was written by this library: what may be replaced without losing anything of the user's.

#include <filesystem>
#include <string_view>

namespace usol::io {

/// Every output says in its `info` how it was made; this is how its "description" begins.
inline constexpr std::string_view kMadeBy = "usol ";
/// The comment of zip archives (.pth), which have no other place to say it.
inline constexpr std::string_view kZipComment = "written by usol";
/// The element that says it in a page of HTML.
inline constexpr std::string_view kPageGenerator = R"(<meta name="generator" content="usol">)";

/// True for a regular file that says it was written by usol: JSON with its `info` (annotations, metrics, manifests,
/// journals, times), safetensors with that in their metadata (also when cut short behind it), .pth archives, settings
/// files, report pages. Also for a file that holds nothing that could be lost: empty, or an empty JSON object or list.
/// False for anything else, and for what cannot be read. The whole of a JSON file is read.
bool written_by_usol(const std::filesystem::path& path);

}  // namespace usol::io
