#pragma once
// Splits a JSON file of any size into the records of its top-level arrays, so that each can be parsed on its own.
// Place: under the COCO reader; annotation files reach gigabytes, and simdjson wants a document below 4 GB.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "usol/io/shared_bytes.h"

namespace usol::io {

/// What JsonSplitter found next. The views point into the file and stay valid as long as the splitter.
struct JsonPiece {
  enum class Kind {
    kArray,    // `key` is an array; its elements follow
    kElement,  // one element of it
    kValue,    // `key` is something else, as a whole
  };
  Kind kind = Kind::kValue;
  std::string_view key;     // member of the top-level object; empty if the document itself is an array
  std::int64_t index = -1;  // of an element, in its array
  std::string_view text;    // of an element or value: its JSON, without white space around it
  std::size_t offset = 0;   // of the text, in the file
};

/// Walks the top level of a document that is an object or an array: brackets and strings are followed, contents of
/// the pieces are not checked. Errors (kFormat) name the file, the byte offset and the array's element.
class JsonSplitter {
 public:
  /// Maps the file. Throws Error(kIo) if it cannot be opened, Error(kFormat) unless it holds an object or array.
  explicit JsonSplitter(const std::filesystem::path& path);
  explicit JsonSplitter(SharedBytes file);

  /// True if the document is one array.
  bool is_array() const { return is_array_; }
  const std::string& name() const { return file_.name; }
  /// The whole file.
  std::string_view text() const { return {begin_, static_cast<std::size_t>(end_ - begin_)}; }
  /// Finds the next piece; false at the end of the document.
  bool next(JsonPiece& piece);
  /// Tells the system that the pieces so far are done with, so that memory stays flat on large files. They remain
  /// readable, at the cost of reading the file again.
  void release_behind();

 private:
  [[noreturn]] void fail_here(const char* position, const std::string& what) const;
  const char* skip_space(const char* p) const;
  const char* skip_value(const char* p) const;
  const char* skip_string(const char* p) const;
  char at(const char* p) const { return p < end_ ? *p : '\0'; }
  void finish_document(const char* p);

  SharedBytes file_;
  const char* begin_;
  const char* end_;
  const char* position_;
  const char* released_;
  bool mapped_ = false;  // the bytes are a file's, so that dropping them from memory loses nothing
  bool is_array_ = false;
  bool in_array_ = false;  // between the brackets of a top-level array
  bool first_ = true;      // no comma is due yet
  bool done_ = false;
  std::string_view key_;
  std::int64_t index_ = 0;
};

}  // namespace usol::io
