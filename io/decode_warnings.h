#pragma once
// What a decoder has to say about pictures that it reads all the same: counted by kind, with a few names as examples.
// One collector serves all threads of a program that reads many pictures.

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace usol::io {

enum class DecodeWarning {
  kDeepGrey,     // grey of more than 8 bits, with values outside of 0 to 255, which were clipped
  kDamagedData,  // damaged or missing bytes that the decoder passed over
  kBadExif,      // an EXIF block that cannot be read, so that no turn was applied
};
inline constexpr std::size_t kDecodeWarnings = 3;

/// "16-bit grey values above 255 became white, as in Pillow" and so on: the end of a sentence about pictures.
const char* describe(DecodeWarning kind);

class DecodeWarnings {
 public:
  struct Group {
    DecodeWarning kind;
    std::int64_t pictures = 0;             // that have it; one that is read again counts once
    std::vector<std::string> first_lines;  // "NAME: what was found", of the first ones
  };

  /// Notes that the picture `name` has this oddity; `line` says what was found and where. From any thread.
  void add(DecodeWarning kind, const std::string& name, const std::string& line);
  /// The kinds that occurred.
  std::vector<Group> groups() const;

 private:
  struct Seen {
    std::set<std::string> names;
    std::vector<std::string> first_lines;
  };
  mutable std::mutex mutex_;
  std::array<Seen, kDecodeWarnings> seen_;
};

}  // namespace usol::io
