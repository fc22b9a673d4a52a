#include "usol/io/origin.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "usol/io/json_stream.h"
#include "usol/io/shared_bytes.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kInfoInside = R"("info":"{\"description\":\"usol )";  // in the header of safetensors
constexpr std::size_t kPageEnds = 4096;  // bytes of a page's beginning and end that are looked at

bool describes_usol(const Json& info) {
  return info.is_object() && info.contains("description") && info["description"].is_string() &&
         info["description"].get_ref<const std::string&>().starts_with(kMadeBy);
}

bool says_usol(std::string_view info) { return describes_usol(Json::parse(info, nullptr, false)); }

bool is_of_usol_json(const std::filesystem::path& path, std::string_view text) {
  constexpr std::string_view kJournal = "{\"usol_journal\":";
  if (text.starts_with(kJournal) || kJournal.starts_with(text)) return true;  // the latter: killed while it was begun
  bool counts_images = false, has_seconds = false;
  std::int64_t members = 0;
  JsonSplitter splitter(path);
  for (JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
    if (piece.kind != JsonPiece::Kind::kValue) {
      ++members;
      continue;
    }
    if (piece.key == "info" && says_usol(piece.text)) return true;
    if (piece.key == "usol_self_train") return true;
    ++members;
    counts_images = counts_images || piece.key == "images";
    has_seconds = has_seconds || piece.key == "seconds";
  }
  return members == 0 || (members == 2 && counts_images && has_seconds);  // the latter: times of stages
}

bool is_of_usol_safetensors(std::string_view file) {
  std::uint64_t size = 0;
  if (file.size() < sizeof size) return false;
  std::memcpy(&size, file.data(), sizeof size);
  file.remove_prefix(sizeof size);
  // Cut short within its header, which has the metadata first.
  if (size > file.size()) return file.starts_with("{\"__metadata__\":{") && file.find(kInfoInside) != file.npos;
  const Json header = Json::parse(file.substr(0, size), nullptr, false);
  if (!header.is_object() || !header.contains("__metadata__") || !header["__metadata__"].is_object()) return false;
  const Json& metadata = header["__metadata__"];
  return std::any_of(metadata.begin(), metadata.end(), [](const Json& value) {
    return value.is_string() && says_usol(std::string_view(value.get_ref<const std::string&>()));
  });
}

bool is_of_usol_page(std::string_view text) {
  const std::string_view end = text.substr(text.size() - std::min(text.size(), kPageEnds));
  return text.substr(0, kPageEnds).find(kPageGenerator) != std::string_view::npos ||
         end.find("<small>usol ") != std::string_view::npos;
}

}  // namespace

bool written_by_usol(const std::filesystem::path& path) {
  try {
    const SharedBytes file = map_file(path);
    const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
    const std::size_t start = text.find_first_not_of(" \t\r\n");
    if (start == std::string_view::npos) return true;
    if (text[start] == '{' || text[start] == '[') return is_of_usol_json(path, text);
    if (text.starts_with("PK")) return text.ends_with(kZipComment);
    if (text.starts_with("<!DOCTYPE html>")) return is_of_usol_page(text);
    if (text.starts_with("# usol ")) return true;
    return is_of_usol_safetensors(text);
  } catch (const Error&) {
    return false;
  }
}

}  // namespace usol::io
