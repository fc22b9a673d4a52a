#include "usol/io/event_file.h"

#include <array>
#include <bit>
#include <chrono>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "usol/io/append_text.h"
#include "usol/io/atomic_file.h"
#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::io {
namespace {

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0);
    table[i] = value;
  }
  return table;
}();

// A checksum of data that holds checksums would be weak; so they are stored rotated and shifted.
std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

template <class T>
void put_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

template <class T>
T get_little_endian(std::string_view bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return value;
}

// ---- protocol buffers: fields are (number << 3 | kind) and a value ----

enum Wire : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
enum EventField : std::uint32_t { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5 };
enum ValueField : std::uint32_t { kTag = 1, kSimpleValue = 2, kImage = 4 };
enum ImageField : std::uint32_t { kHeight = 1, kWidth = 2, kColorspace = 3, kEncoded = 4 };
constexpr std::uint32_t kValue = 1;  // of Summary
constexpr std::uint64_t kRgb = 3;    // colorspace
constexpr const char* kVersion = "brain.Event:2";

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void put_number(std::string& out, std::uint32_t field, std::uint64_t value) {
  put_varint(out, field << 3 | kVarint);
  put_varint(out, value);
}

void put_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
  put_varint(out, field << 3 | kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string encode(const EventRecord& record) {
  std::string event;
  put_varint(event, kWallTime << 3 | kFixed64);
  put_little_endian(event, std::bit_cast<std::uint64_t>(record.wall_time));
  if (record.step != 0) put_number(event, kStep, static_cast<std::uint64_t>(record.step));
  if (!record.file_version.empty()) put_bytes(event, kFileVersion, record.file_version);
  std::string summary;
  for (const auto& [tag, scalar] : record.scalars) {
    std::string value;
    put_bytes(value, kTag, tag);
    put_varint(value, kSimpleValue << 3 | kFixed32);
    put_little_endian(value, std::bit_cast<std::uint32_t>(scalar));
    put_bytes(summary, kValue, value);
  }
  for (const auto& [tag, picture] : record.pictures) {
    std::string value, image;
    put_number(image, kHeight, static_cast<std::uint64_t>(picture.height));
    put_number(image, kWidth, static_cast<std::uint64_t>(picture.width));
    put_number(image, kColorspace, kRgb);
    put_bytes(image, kEncoded, picture.encoded);
    put_bytes(value, kTag, tag);
    put_bytes(value, kImage, image);
    put_bytes(summary, kValue, value);
  }
  if (!summary.empty()) put_bytes(event, kSummary, summary);
  return event;
}

struct Field {
  std::uint32_t number = 0;
  std::uint64_t value = 0;  // of numbers
  std::string_view bytes;   // of strings and messages
};

// The fields of a message, one after the other.
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const std::uint64_t key = varint();
    Field field{.number = static_cast<std::uint32_t>(key >> 3), .value = 0, .bytes = {}};
    switch (key & 7) {
      case kVarint:
        field.value = varint();
        break;
      case kFixed64:
        field.value = get_little_endian<std::uint64_t>(take(8));
        break;
      case kFixed32:
        field.value = get_little_endian<std::uint32_t>(take(4));
        break;
      case kBytes:
        field.bytes = take(varint());
        break;
      default:
        fail(ErrorKind::kFormat, fmt::format("event file: a field of unknown kind {}", key & 7));
    }
    return field;
  }

 private:
  std::string_view take(std::uint64_t count) {
    check(count <= rest_.size(), ErrorKind::kFormat, "event file: a field of {} bytes, but {} are left", count,
          rest_.size());
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail(ErrorKind::kFormat, "event file: a number of more than 64 bits");
  }

  std::string_view rest_;
};

EventRecord::Picture decode_picture(std::string_view bytes) {
  EventRecord::Picture picture;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == kHeight) picture.height = static_cast<std::int64_t>(field->value);
    if (field->number == kWidth) picture.width = static_cast<std::int64_t>(field->value);
    if (field->number == kEncoded) picture.encoded = field->bytes;
  }
  return picture;
}

void decode_value(std::string_view bytes, EventRecord& record) {
  std::string tag;
  std::optional<float> scalar;
  std::optional<EventRecord::Picture> picture;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == kTag) tag = field->bytes;
    if (field->number == kSimpleValue) scalar = std::bit_cast<float>(static_cast<std::uint32_t>(field->value));
    if (field->number == kImage) picture = decode_picture(field->bytes);
  }
  if (scalar) record.scalars[tag] = *scalar;
  if (picture) record.pictures[tag] = *picture;
}

EventRecord decode(std::string_view bytes) {
  EventRecord record;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == kWallTime) record.wall_time = std::bit_cast<double>(field->value);
    if (field->number == kStep) record.step = static_cast<std::int64_t>(field->value);
    if (field->number == kFileVersion) record.file_version = field->bytes;
    if (field->number != kSummary) continue;
    Message summary(field->bytes);
    while (const auto value = summary.next())
      if (value->number == kValue) decode_value(value->bytes, record);
  }
  return record;
}

// A record in its frame.
std::string framed(std::string_view data) {
  std::string out;
  put_little_endian(out, static_cast<std::uint64_t>(data.size()));
  put_little_endian(out, masked_crc(out));
  out += data;
  put_little_endian(out, masked_crc(data));
  return out;
}

// The record at the front of `rest`, taken off it; nothing if it is not whole.
std::optional<std::string_view> next_frame(std::string_view& rest) {
  constexpr std::size_t kHead = 12, kTail = 4;
  if (rest.size() < kHead + kTail) return std::nullopt;
  const auto size = get_little_endian<std::uint64_t>(rest);
  if (get_little_endian<std::uint32_t>(rest.substr(8)) != masked_crc(rest.substr(0, 8))) return std::nullopt;
  if (size > rest.size() - kHead - kTail) return std::nullopt;
  const std::string_view data = rest.substr(kHead, size);
  if (get_little_endian<std::uint32_t>(rest.substr(kHead + size)) != masked_crc(data)) return std::nullopt;
  rest.remove_prefix(kHead + size + kTail);
  return data;
}

std::string read_all(const fs::path& path) {
  static_cast<void>(open_regular_file(path));  // a pipe would be waited for
  std::ifstream in(path, std::ios::binary);
  check(in.good(), ErrorKind::kIo, "{}: cannot be read", path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

std::vector<EventRecord> read_events(const fs::path& path) {
  const std::string content = read_all(path);
  std::string_view rest = content;
  std::vector<EventRecord> records;
  while (const auto data = next_frame(rest)) records.push_back(decode(*data));
  return records;
}

EventFile::EventFile(fs::path path, std::int64_t first) : path_(std::move(path)) {
  std::string kept =
      framed(encode({.wall_time = now(), .step = 0, .file_version = kVersion, .scalars = {}, .pictures = {}}));
  if (fs::exists(path_)) {
    const std::string content = read_all(path_);
    std::string_view rest = content;
    while (const auto data = next_frame(rest)) {
      const EventRecord record = decode(*data);
      if (record.file_version.empty() && record.step < first) kept += framed(*data);
    }
  }
  write_file(path_, kept);
}

void EventFile::append(const EventRecord& record) const { append_text(path_, framed(encode(record))); }

void EventFile::add(std::int64_t step, const std::map<std::string, double>& scalars) {
  EventRecord record{.wall_time = now(), .step = step, .file_version = {}, .scalars = {}, .pictures = {}};
  for (const auto& [tag, value] : scalars) record.scalars[tag] = static_cast<float>(value);
  append(record);
}

void EventFile::add_picture(std::int64_t step, const std::string& tag, std::int64_t height, std::int64_t width,
                            std::span<const std::byte> encoded) {
  EventRecord record{.wall_time = now(), .step = step, .file_version = {}, .scalars = {}, .pictures = {}};
  record.pictures[tag] = {height, width, {reinterpret_cast<const char*>(encoded.data()), encoded.size()}};
  append(record);
}

}  // namespace usol::io
