#pragma once
// Text for web pages: what report/report.h writes is made of these pieces.

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

namespace usol::report {

/// `text` with & < > and " as entities, for elements and quoted attributes.
std::string escape_html(std::string_view text);

/// JSON for a <script type="application/json"> element: no '<' in it can end the element or open a comment. Bytes that
/// are not UTF-8 are replaced.
std::string json_in_script(const nlohmann::ordered_json& json);

/// Base64 (RFC 4648, with padding).
std::string base64(std::span<const std::byte> bytes);

/// "data:image/jpeg;base64,..." of an encoded JPEG.
std::string jpeg_data_uri(std::span<const std::byte> jpeg);

}  // namespace usol::report
