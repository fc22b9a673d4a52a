#include "usol/io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/io/atomic_file.h"
#include "usol/io/placeholder.h"
#include "usol/io/stored_array.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

struct NamedType {
  std::string_view name;
  StoredType type;
};
constexpr std::array<NamedType, 12> kTypes = {{{"F32", StoredType::kF32},
                                               {"F16", StoredType::kF16},
                                               {"BF16", StoredType::kBF16},
                                               {"F64", StoredType::kF64},
                                               {"I64", StoredType::kI64},
                                               {"I32", StoredType::kI32},
                                               {"I16", StoredType::kI16},
                                               {"I8", StoredType::kI8},
                                               {"U8", StoredType::kU8},
                                               {"U16", StoredType::kU16},
                                               {"U32", StoredType::kU32},
                                               {"BOOL", StoredType::kBool}}};

struct Entry {
  std::string name;
  StoredType type;
  Shape shape;
  std::uint64_t begin, end;  // in the data section
};

/// A JSON number that is an integer of [0, 2^63).
std::optional<std::int64_t> as_size(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<std::uint64_t>();
  if (number > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

json parse_header(std::string_view text, const std::string& file) {
  check(text.starts_with('{'), ErrorKind::kFormat, "safetensors: {}: the header at byte 8 does not begin with '{{'",
        file);
  // The parser keeps the last of two equal keys, so they are looked for while it runs.
  std::vector<std::set<std::string>> keys;
  const json::parser_callback_t no_duplicates = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const auto key = value.get<std::string>();
      check(keys.back().insert(key).second, ErrorKind::kFormat, "safetensors: {}: key '{}' occurs twice", file, key);
    }
    return true;
  };
  try {
    return json::parse(text, no_duplicates);
  } catch (const json::exception& error) {
    fail(ErrorKind::kFormat, fmt::format("safetensors: {}: the header is no valid JSON: {}", file, error.what()));
  }
}

Entry parse_entry(const std::string& name, const json& value, const std::string& what) {
  check(value.is_object() && value.contains("dtype") && value.contains("shape") && value.contains("data_offsets") &&
            value.size() == 3,
        ErrorKind::kFormat, "{}: expected exactly dtype, shape and data_offsets", what);
  const json& dtype = value["dtype"];
  check(dtype.is_string(), ErrorKind::kFormat, "{}: dtype is no string", what);
  const auto dtype_name = dtype.get<std::string>();
  const auto known = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return t.name == dtype_name; });
  check(known != kTypes.end(), ErrorKind::kUnsupported, "{}: dtype {} is not supported", what, dtype_name);

  Entry entry{name, known->type, {}, 0, 0};
  const json& shape = value["shape"];
  check(shape.is_array() && shape.size() <= Shape::kMaxRank, ErrorKind::kFormat,
        "{}: shape must be an array of at most {} sizes", what, Shape::kMaxRank);
  for (const json& size : shape) {
    const auto number = as_size(size);
    check(number.has_value(), ErrorKind::kFormat, "{}: {} in shape is no size", what, size.dump());
    entry.shape.push_back(*number);
  }
  const json& offsets = value["data_offsets"];
  check(offsets.is_array() && offsets.size() == 2 && as_size(offsets[0]) && as_size(offsets[1]), ErrorKind::kFormat,
        "{}: data_offsets must be two byte offsets", what);
  entry.begin = static_cast<std::uint64_t>(*as_size(offsets[0]));
  entry.end = static_cast<std::uint64_t>(*as_size(offsets[1]));
  const std::size_t bytes = stored_bytes({entry.shape.begin(), entry.shape.end()}, entry.type, what);
  check(entry.begin <= entry.end && entry.end - entry.begin == bytes, ErrorKind::kFormat,
        "{}: data_offsets [{}, {}] do not span the {} bytes of {} {}", what, entry.begin, entry.end, bytes, dtype_name,
        entry.shape);
  return entry;
}

}  // namespace

SafetensorsContent parse_safetensors(const SharedBytes& file) {
  refuse_placeholder(file.bytes, file.name, "a file of tensors");
  check(file.size() >= 8, ErrorKind::kFormat, "safetensors: {}: {} bytes are too few for the header's length",
        file.name, file.size());
  std::uint64_t header_bytes;
  std::memcpy(&header_bytes, file.bytes.data(), 8);
  check(header_bytes <= kMaxHeaderBytes, ErrorKind::kFormat,
        "safetensors: {}: a header of {} bytes is beyond the limit of {}", file.name, header_bytes, kMaxHeaderBytes);
  check(header_bytes <= file.size() - 8, ErrorKind::kFormat,
        "safetensors: {}: the header needs {} bytes, the file ends after {} (truncated?)", file.name, header_bytes,
        file.size() - 8);
  const json header = parse_header({reinterpret_cast<const char*>(file.bytes.data()) + 8, header_bytes}, file.name);

  SafetensorsContent content;
  std::vector<Entry> entries;
  for (const auto& item : header.items()) {
    if (item.key() == "__metadata__") {
      check(item.value().is_object(), ErrorKind::kFormat, "safetensors: {}: __metadata__ is no object", file.name);
      for (const auto& pair : item.value().items()) {
        check(pair.value().is_string(), ErrorKind::kFormat, "safetensors: {}: __metadata__ '{}' is no string",
              file.name, pair.key());
        content.metadata.emplace(pair.key(), pair.value().get<std::string>());
      }
    } else {
      const std::string what = fmt::format("safetensors: {}: tensor '{}'", file.name, item.key());
      entries.push_back(parse_entry(item.key(), item.value(), what));
    }
  }

  // The format wants the data section covered exactly once.
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  const SharedBytes data = file.slice(8 + header_bytes, file.size() - 8 - header_bytes);
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    const std::string what = fmt::format("safetensors: {}: tensor '{}'", file.name, entry.name);
    check(entry.begin == covered, ErrorKind::kFormat, "{}: begins at data byte {}, expected {} ({})", what, entry.begin,
          covered, entry.begin < covered ? "tensors overlap" : "a gap");
    covered = entry.end;
    check(covered <= data.size(), ErrorKind::kFormat, "{}: ends at data byte {}, the file holds {} (truncated?)", what,
          covered, data.size());
    const SharedBytes bytes = data.slice(entry.begin, entry.end - entry.begin);
    content.tensors.emplace(entry.name, tensor_from_stored(bytes, entry.type, entry.shape, what));
    if (is_widened(entry.type)) content.widened.insert(entry.type);
  }
  check(covered == data.size(), ErrorKind::kFormat, "safetensors: {}: {} bytes after the last tensor", file.name,
        data.size() - covered);
  return content;
}

SafetensorsContent read_safetensors(const std::filesystem::path& path) { return parse_safetensors(map_file(path)); }

std::map<std::string, Tensor> load_safetensors(const std::filesystem::path& path) {
  return read_safetensors(path).tensors;
}

void save_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  struct Item {
    const std::string* name;
    const Tensor* tensor;
  };
  std::vector<Item> items;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined(), "safetensors: {}: tensor '{}' is undefined", path.string(), name);
    check(name != "__metadata__", "safetensors: {}: a tensor cannot be named '__metadata__'", path.string());
    items.push_back({&name, &tensor});
  }
  // Widest elements first keeps every tensor aligned without gaps.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return size_of(a.tensor->dtype()) > size_of(b.tensor->dtype());
  });

  const auto quote = [&](const std::string& text) {
    try {
      return json(text).dump();
    } catch (const json::exception&) {
      fail(ErrorKind::kInvalidArgument, fmt::format("safetensors: {}: a name or value is no UTF-8", path.string()));
    }
  };
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (header.back() != '{') header += ',';
      header += quote(key) + ":" + quote(value);
    }
    header += '}';
  }
  std::uint64_t offset = 0;
  for (const Item& item : items) {
    if (header.size() > 1) header += ',';
    const DType dtype = item.tensor->dtype();
    const StoredType stored = stored_type_of(dtype);
    const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return t.type == stored; });
    const std::uint64_t end = offset + static_cast<std::uint64_t>(item.tensor->numel()) * size_of(dtype);
    const Shape& shape = item.tensor->shape();
    header += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quote(*item.name), type->name,
                          fmt::join(shape.begin(), shape.end(), ","), offset, end);
    offset = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the data begins at a multiple of 8

  AtomicFile file(path);
  const std::uint64_t header_bytes = header.size();
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  for (const Item& item : items) file.write(bytes_of(storable(*item.tensor)));
  file.commit();
}

}  // namespace usol::io
