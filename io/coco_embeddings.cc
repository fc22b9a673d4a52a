#include "usol/io/coco_embeddings.h"

#include <simdjson.h>

#include <cmath>
#include <string>

#include "usol/io/json_stream.h"
#include "usol/tensor/check.h"

namespace usol::io {

std::span<const float> CocoEmbeddings::of(std::int64_t record) const {
  if (record < 0 || record >= static_cast<std::int64_t>(row_of.size())) return {};
  const std::int64_t row = row_of[static_cast<std::size_t>(record)];
  if (row < 0) return {};
  return std::span(numbers).subspan(static_cast<std::size_t>(row * width), static_cast<std::size_t>(width));
}

CocoEmbeddings read_coco_embeddings(const std::filesystem::path& path, std::int64_t width) {
  JsonSplitter splitter(path);
  simdjson::dom::parser parser;
  CocoEmbeddings result;
  std::int64_t rows = 0;
  for (JsonPiece piece; splitter.next(piece);) {
    if (piece.kind != JsonPiece::Kind::kElement || piece.key != "annotations") continue;
    splitter.release_behind();
    if (piece.text.find("\"emb\"") == std::string_view::npos) continue;
    const std::string place = fmt::format("{}: annotations[{}]", splitter.name(), piece.index);
    simdjson::dom::element record, value;
    check(!parser.parse(piece.text.data(), piece.text.size(), true).get(record), ErrorKind::kFormat,
          "{}: malformed JSON in the record at byte {}", place, piece.offset);
    if (record["emb"].get(value) || value.is_null()) continue;
    simdjson::dom::array numbers;
    check(!value.get(numbers), ErrorKind::kFormat, "{}.emb: expected numbers, got {}", place,
          simdjson::minify(value).substr(0, 60));
    const auto count = static_cast<std::int64_t>(numbers.size());
    if (count == 0) continue;
    check(count == width, ErrorKind::kFormat,
          "{}.emb: expected {} numbers, as many as the detector learns (its setting embedding), got {}; with "
          "embedding-weight 0 they are not read",
          place, width, count);
    for (const simdjson::dom::element element : numbers) {
      double number = 0;
      const bool is_number = !element.get(number) && std::isfinite(static_cast<float>(number));
      check(is_number, ErrorKind::kFormat, "{}.emb: expected finite numbers of f32, got {}", place,
            simdjson::minify(element).substr(0, 60));
      result.numbers.push_back(static_cast<float>(number));
    }
    result.row_of.resize(static_cast<std::size_t>(piece.index), -1);
    result.row_of.push_back(rows++);
    result.width = width;
  }
  return result;
}

}  // namespace usol::io
