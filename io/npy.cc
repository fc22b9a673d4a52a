#include "usol/io/npy.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "usol/io/atomic_file.h"
#include "usol/io/placeholder.h"
#include "usol/io/stored_array.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

/// The header is a Python dict with three known keys. This reads exactly that, no other Python.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::size_t file_offset, const std::string& file)
      : text_(text), file_offset_(file_offset), file_(file) {}

  void parse() {
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !descr_) {
        require(peek() == '\'' || peek() == '"', ErrorKind::kUnsupported, "arrays of records are not supported");
        descr_ = quoted();
      } else if (key == "fortran_order" && !fortran_) {
        fortran_ = boolean();
      } else if (key == "shape" && !shape_) {
        shape_ = tuple();
      } else {
        require(false, ErrorKind::kFormat, "unexpected or repeated key '" + key + "'");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    require(at_ == text_.size(), ErrorKind::kFormat, "text after the dict");
    require(descr_ && fortran_ && shape_, ErrorKind::kFormat, "descr, fortran_order or shape is missing");
  }
  const std::string& descr() const { return *descr_; }
  bool fortran() const { return *fortran_; }
  const std::vector<std::int64_t>& shape() const { return *shape_; }

 private:
  void require(bool condition, ErrorKind kind, const std::string& message) const {
    check(condition, kind, "npy: {}: header byte {}: {}", file_, file_offset_ + at_, message);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) { require(accept(c), ErrorKind::kFormat, std::string("expected '") + c + "'"); }
  std::string quoted() {
    const char quote = peek();
    require(quote == '\'' || quote == '"', ErrorKind::kFormat, "expected a quoted string");
    const std::size_t end = text_.find(quote, at_ + 1);
    require(end != std::string_view::npos, ErrorKind::kFormat, "unterminated string");
    const std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    }
    require(false, ErrorKind::kFormat, "expected True or False");
    return false;
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t value = 0;
      const char* begin = text_.data() + at_;
      const auto result = std::from_chars(begin, text_.data() + text_.size(), value);
      require(result.ec == std::errc() && value >= 0, ErrorKind::kFormat, "expected a size");
      at_ += static_cast<std::size_t>(result.ptr - begin);
      accept('L');  // Python 2 wrote long integers so
      values.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  std::size_t file_offset_;
  const std::string& file_;
  std::size_t at_ = 0;
  std::optional<std::string> descr_;
  std::optional<bool> fortran_;
  std::optional<std::vector<std::int64_t>> shape_;
};

}  // namespace

Tensor parse_npy(const SharedBytes& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.size());
  refuse_placeholder(file.bytes, file.name, "an array");
  check(text.starts_with(kMagic), ErrorKind::kFormat, "npy: {}: does not begin with \\x93NUMPY", file.name);
  check(text.size() >= 10, ErrorKind::kFormat, "npy: {}: truncated after {} bytes", file.name, text.size());
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(file.bytes[i]); };
  const std::size_t version = byte(6);
  check(version >= 1 && version <= 3, ErrorKind::kUnsupported, "npy: {}: expected format version 1 to 3, got {}.{}",
        file.name, version, byte(7));
  const std::size_t start = version == 1 ? 10 : 12;
  check(text.size() >= start, ErrorKind::kFormat, "npy: {}: truncated after {} bytes", file.name, text.size());
  std::size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  check(length <= text.size() - start, ErrorKind::kFormat,
        "npy: {}: the header needs {} bytes, the file ends after {} (truncated?)", file.name, length,
        text.size() - start);
  HeaderParser header(text.substr(start, length), start, file.name);
  header.parse();

  const std::string_view descr = header.descr();
  const bool ordered = !descr.empty() && std::string_view("<>|=").find(descr[0]) != std::string_view::npos;
  const auto type = stored_type_of_numpy(ordered ? descr.substr(1) : descr);
  check(type.has_value(), ErrorKind::kUnsupported,
        "npy: {}: element type '{}' is not supported; convert it, for example with array.astype('float32')", file.name,
        descr);
  const std::string what = fmt::format("npy: {}", file.name);
  stored_bytes(header.shape(), *type, what);
  const SharedBytes data = file.slice(start + length, file.size() - start - length);
  return tensor_from_stored(data, *type, Shape(std::span<const std::int64_t>(header.shape())), what,
                            {ordered && descr[0] == '>', header.fortran()});
}

Tensor load_npy(const std::filesystem::path& path) { return parse_npy(map_file(path)); }

void save_npy(const std::filesystem::path& path, const Tensor& tensor) {
  check(tensor.defined(), "npy: {}: undefined tensor", path.string());
  const Tensor dense = storable(tensor.dtype() == DType::kBF16 ? tensor.to(DType::kF32) : tensor);
  std::string_view descr;
  switch (dense.dtype()) {
    case DType::kF32:
    case DType::kBF16:
      descr = "<f4";
      break;
    case DType::kF16:
      descr = "<f2";
      break;
    case DType::kF64:
      descr = "<f8";
      break;
    case DType::kI64:
      descr = "<i8";
      break;
    case DType::kI32:
      descr = "<i4";
      break;
    case DType::kU8:
      descr = "|u1";
      break;
    case DType::kBool:
      descr = "|b1";
      break;
  }
  const Shape& shape = dense.shape();
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr,
                                   fmt::join(shape.begin(), shape.end(), ", "), shape.rank() == 1 ? "," : "");
  // The format asks for data at a multiple of 64 and a newline before it.
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10, ' ');
  header.back() = '\n';
  const std::string preamble = std::string(kMagic) + '\1' + '\0' + static_cast<char>(header.size() & 0xff) +
                               static_cast<char>(header.size() >> 8);
  AtomicFile file(path);
  file.write(preamble);
  file.write(header);
  file.write(bytes_of(dense));
  file.commit();
}

}  // namespace usol::io
