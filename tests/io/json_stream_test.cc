// The splitter against whole-document parsing, and its errors.
#include "usol/io/json_stream.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "usol/io/atomic_file.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using nlohmann::ordered_json;

JsonSplitter splitter_of(const std::string& text) {
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  return JsonSplitter(own_bytes(std::vector<std::byte>(bytes, bytes + text.size()), "file.json"));
}

// The document put together again from its pieces.
ordered_json rebuilt(JsonSplitter splitter) {
  ordered_json document = splitter.is_array() ? ordered_json::array() : ordered_json::object();
  JsonPiece piece;
  while (splitter.next(piece)) {
    const std::string key(piece.key);
    if (piece.kind == JsonPiece::Kind::kArray) {
      document[key] = ordered_json::array();
      continue;
    }
    const auto value = ordered_json::parse(piece.text);
    if (piece.kind == JsonPiece::Kind::kValue) {
      document[key] = value;
    } else {
      auto& array = splitter.is_array() ? document : document[key];
      EXPECT_EQ(piece.index, static_cast<std::int64_t>(array.size()));
      EXPECT_EQ(splitter.text().substr(piece.offset, piece.text.size()), piece.text);
      array.push_back(value);
    }
  }
  return document;
}

std::string error_of(const std::string& text) {
  try {
    rebuilt(splitter_of(text));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
  return "no error";
}

ordered_json random_value(std::mt19937& rng, int depth) {
  switch (rng() % (depth > 0 ? 7 : 5)) {
    case 0:
      return static_cast<int>(rng() % 1000) - 500;
    case 1:
      return std::string("a\"b\\,]}[{: \n") + static_cast<char>('a' + rng() % 26) + std::string(rng() % 3, '\\');
    case 2:
      return rng() % 2 == 0;
    case 3:
      return nullptr;
    case 4:
      return 0.25 * static_cast<int>(rng() % 100);
    case 5: {
      auto array = ordered_json::array();
      for (auto n = rng() % 4; n > 0; --n) array.push_back(random_value(rng, depth - 1));
      return array;
    }
    default: {
      auto object = ordered_json::object();
      for (auto n = rng() % 4; n > 0; --n) object[fmt::format("k{}", rng() % 9)] = random_value(rng, depth - 1);
      return object;
    }
  }
}

TEST(JsonSplitter, FindsEveryPiece) {
  std::mt19937 rng(1);
  for (int i = 0; i < 300; ++i) {
    ordered_json document = i % 2 == 0 ? ordered_json::array() : ordered_json::object();
    for (int n = 0; n < i % 7; ++n) {
      if (i % 2 == 0) {
        document.push_back(random_value(rng, 3));
      } else {
        document[fmt::format("key{}", n)] = random_value(rng, 3);
      }
    }
    for (const int indent : {-1, 2}) EXPECT_EQ(rebuilt(splitter_of(document.dump(indent))), document);
    EXPECT_EQ(rebuilt(splitter_of("\xef\xbb\xbf \n\t" + document.dump() + "\r\n ")), document);
  }
}

TEST(JsonSplitter, ReadsFilesLargerThanItKeeps) {
  const test::TempDir folder;
  const std::string record = "{\"text\": \"" + std::string(1 << 16, 'x') + "\"}";
  std::string text = "[";
  text += record;
  for (int i = 1; i < 600; ++i) text.append(",").append(record);  // 39 MB
  write_file(folder / "large.json", text + "]");
  JsonSplitter splitter(folder / "large.json");
  JsonPiece piece;
  std::int64_t count = 0;
  std::string_view first;
  while (splitter.next(piece)) {
    ASSERT_EQ(piece.text, record);
    if (count++ == 0) first = piece.text;
    splitter.release_behind();
  }
  EXPECT_EQ(count, 600);
  EXPECT_EQ(first, record);
}

TEST(JsonSplitter, NamesThePlaceOfAnError) {
  EXPECT_EQ(error_of(""), "file.json: the file is empty at byte 0");
  EXPECT_EQ(error_of("  nonsense"), "file.json: expected a JSON object or array at byte 2");
  EXPECT_EQ(error_of(R"({"images": [{"id": 1}, {"id": )"),
            "file.json: images[1]: the file ends inside a value that starts at byte 23");
  EXPECT_EQ(error_of(R"({"images": [{"id": 1} {"id": 2}]})"), "file.json: images[1]: expected a comma at byte 22");
  EXPECT_EQ(error_of(R"({"images": [1,]})"), "file.json: images[1]: expected a value at byte 14");
  EXPECT_EQ(error_of(R"({"images": ["abc)"),
            "file.json: images[0]: the file ends inside a string that starts at byte 12");
  EXPECT_EQ(error_of(R"({"images": [1], })"), "file.json: after \"images\": expected a key in quotes at byte 16");
  EXPECT_EQ(error_of(R"({"images" 1})"), "file.json: after \"images\": expected a colon at byte 10");
  EXPECT_EQ(error_of(R"({"images": [1])"), "file.json: after \"images\": the file ends early, at byte 14");
  EXPECT_EQ(error_of("[1] [2]"), "file.json: expected the end of the file at byte 4");
  EXPECT_EQ(error_of("[1, 2"), "file.json: [2]: the file ends early, at byte 5");
  EXPECT_EQ(error_of(R"({"a": )"), "file.json: after \"a\": the file ends where a value is expected at byte 6");
}

TEST(JsonSplitter, EveryCutIsAnError) {
  const std::string text = R"({"info": {"a": [1, "]"]}, "images": [{"id": 1, "n": "x\\\""}, 5], "empty": []})";
  ASSERT_EQ(error_of(text), "no error");
  for (std::size_t size = 0; size < text.size(); ++size) EXPECT_NE(error_of(text.substr(0, size)), "no error") << size;
}

}  // namespace
}  // namespace usol::io
