// The splitter of large JSON files: one pass over the bytes, no recursion, no allocation per record.
#include "usol/io/json_stream.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "usol/io/placeholder.h"
#include "usol/io/text_lines.h"
#include "usol/tensor/check.h"

namespace usol::io {

namespace {

constexpr std::size_t kReleaseBytes = std::size_t{16} << 20;

// Bytes that matter inside a nested value.
constexpr std::array<bool, 256> make_structural() {
  std::array<bool, 256> table{};
  for (const char c : {'"', '{', '}', '[', ']'}) table[static_cast<unsigned char>(c)] = true;
  return table;
}
constexpr std::array<bool, 256> kStructural = make_structural();

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

}  // namespace

JsonSplitter::JsonSplitter(const std::filesystem::path& path) : JsonSplitter(map_file(path)) {
  mapped_ = !file_.bytes.empty();
}

JsonSplitter::JsonSplitter(SharedBytes file)
    : file_(std::move(file)),
      begin_(reinterpret_cast<const char*>(file_.bytes.data())),
      end_(begin_ + file_.bytes.size()),
      position_(begin_),
      released_(begin_) {
  check_is_no_utf16(text(), file_.name);
  if (text().starts_with(kByteOrderMark)) position_ += kByteOrderMark.size();
  position_ = skip_space(position_);
  if (at(position_) != '{' && at(position_) != '[') {
    refuse_placeholder(file_.bytes, file_.name, "JSON");
    fail_here(position_, file_.bytes.empty() ? "the file is empty" : "expected a JSON object or array");
  }
  is_array_ = in_array_ = *position_ == '[';
  ++position_;
}

void JsonSplitter::fail_here(const char* position, const std::string& what) const {
  std::string where;
  if (in_array_) {
    where = fmt::format(" {}[{}]:", key_, index_);
  } else if (!key_.empty()) {
    where = fmt::format(" after \"{}\":", key_);
  }
  fail(ErrorKind::kFormat, fmt::format("{}:{} {} at byte {}", file_.name, where, what, position - begin_));
}

const char* JsonSplitter::skip_space(const char* p) const {
  while (p < end_ && is_space(*p)) ++p;
  return p;
}

// p at the opening quote; returns the position after the closing one.
const char* JsonSplitter::skip_string(const char* p) const {
  const char* start = p++;
  while (true) {
    const void* found = p < end_ ? std::memchr(p, '"', static_cast<std::size_t>(end_ - p)) : nullptr;
    if (found == nullptr) fail_here(start, "the file ends inside a string that starts");
    const char* quote = static_cast<const char*>(found);
    const char* slashes = quote;
    while (slashes > p && slashes[-1] == '\\') --slashes;
    p = quote + 1;
    if ((quote - slashes) % 2 == 0) return p;
  }
}

// p at the first character of a value; returns the position after it.
const char* JsonSplitter::skip_value(const char* p) const {
  const char* start = p;
  if (at(p) == '"') return skip_string(p);
  if (at(p) != '{' && at(p) != '[') {
    while (p < end_ && *p != ',' && *p != ']' && *p != '}' && !is_space(*p)) ++p;
    if (p == start) fail_here(start, p == end_ ? "the file ends where a value is expected" : "expected a value");
    return p;
  }
  std::int64_t depth = 0;
  while (true) {
    while (p < end_ && !kStructural[static_cast<unsigned char>(*p)]) ++p;
    if (p >= end_) fail_here(start, "the file ends inside a value that starts");
    if (*p == '"') {
      p = skip_string(p);
      continue;
    }
    depth += *p == '{' || *p == '[' ? 1 : -1;
    ++p;
    if (depth == 0) return p;
  }
}

void JsonSplitter::finish_document(const char* p) {
  done_ = true;
  in_array_ = false;
  key_ = {};
  position_ = skip_space(p);
  if (position_ != end_) fail_here(position_, "expected the end of the file");
}

bool JsonSplitter::next(JsonPiece& piece) {
  while (!done_) {
    const char* p = skip_space(position_);
    if (p == end_) fail_here(p, "the file ends early,");
    // The end of the array or of the document.
    if (*p == (in_array_ ? ']' : '}')) {
      if (!in_array_ || is_array_) {
        finish_document(p + 1);
        return false;
      }
      in_array_ = first_ = false;
      position_ = p + 1;
      continue;
    }
    if (!first_) {
      if (*p != ',') fail_here(p, "expected a comma");
      p = skip_space(p + 1);
    }
    if (in_array_) {
      const char* end = skip_value(p);
      piece = {JsonPiece::Kind::kElement,
               key_,
               index_++,
               {p, static_cast<std::size_t>(end - p)},
               static_cast<std::size_t>(p - begin_)};
      first_ = false;
      position_ = end;
      return true;
    }
    if (at(p) != '"') fail_here(p, "expected a key in quotes");
    const char* key_end = skip_string(p);
    key_ = {p + 1, static_cast<std::size_t>(key_end - p - 2)};
    p = skip_space(key_end);
    if (at(p) != ':') fail_here(p, "expected a colon");
    p = skip_space(p + 1);
    first_ = false;
    if (at(p) == '[') {
      in_array_ = first_ = true;
      index_ = 0;
      position_ = p + 1;
      piece = {JsonPiece::Kind::kArray, key_, -1, {}, static_cast<std::size_t>(p - begin_)};
      return true;
    }
    position_ = skip_value(p);
    piece = {JsonPiece::Kind::kValue,
             key_,
             -1,
             {p, static_cast<std::size_t>(position_ - p)},
             static_cast<std::size_t>(p - begin_)};
    return true;
  }
  return false;
}

void JsonSplitter::release_behind() {
  const auto behind = static_cast<std::size_t>(position_ - released_);
  if (!mapped_ || behind < kReleaseBytes) return;
  // A mapping starts on a page; whole pages are dropped.
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t bytes = behind / page * page;
  static_cast<void>(::madvise(const_cast<char*>(released_), bytes, MADV_DONTNEED));
  released_ += bytes;
}

}  // namespace usol::io
