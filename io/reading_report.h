#pragma once
// What a reader of annotations filled in, changed or left out, counted by kind with the first places, so that nothing
// happens silently. Every AnnotationSet carries one; the binary prints it (pipeline/reading.h).

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace usol::io {

enum class ReadingKind : std::uint8_t {
  kTextId,         // an id that is text, or a whole number above 2^63 - 1: a number stands for it (id_from_text)
  kNewId,          // an annotation without an id, or with one that came before: it has a new one
  kBackslash,      // a file name with backslashes (picture_path)
  kSizeFromMask,   // an image without height and width: those of a run-length mask
  kSizeFromFile,   // ... those of its picture
  kSizeUnknown,    // ... and neither tells them: they stay 0
  kSidesSwapped,   // an image whose height and width are exchanged, as its masks prove: put right
  kNoImage,        // an annotation of an image that the file lacks: left out
  kNoCategory,     // an annotation of a category that the file lacks: left out
  kShortPolygon,   // a polygon of fewer than three points: left out
  kMaskLost,       // an annotation that lost its last polygon so: kept, without a mask
  kAreaFromMask,   // an annotation without an area: its mask's pixels
  kAreaFromBox,    // ... without a mask: its box's area
  kBoxFromMask,    // an annotation without a box: that of its mask
  kPartlyOutside,  // a box that reaches more than a pixel beyond its image: kept as it is
  kVocCorner,      // a corner of a VOC box below 1, where its pixels begin: moved to 1
};
inline constexpr std::size_t kReadingKinds = static_cast<std::size_t>(ReadingKind::kVocCorner) + 1;

/// kFilledIn: what the file lacks was computed. kChanged: a value is not the file's. kLeftOut: a record or a part of it
/// is not there. kKept: it is as the file has it, but looks wrong.
enum class ReadingEffect : std::uint8_t { kFilledIn, kChanged, kLeftOut, kKept };
ReadingEffect effect_of(ReadingKind kind);

class ReadingReport {
 public:
  static constexpr std::size_t kExamples = 5;
  struct Entry {
    std::int64_t count = 0;
    std::vector<std::string> examples;  // of the first kExamples
  };

  /// Counts one case. `example` says where and what ("annotations[3] (id 7): image 99"), or is a function that returns
  /// this, called only if the example is kept. Calls must come in the file's order.
  void add(ReadingKind kind, std::string example) {
    add(kind, [&] { return std::move(example); });
  }
  template <class Example>
  void add(ReadingKind kind, Example&& example) {
    Entry& entry = entries_[static_cast<std::size_t>(kind)];
    if (++entry.count <= static_cast<std::int64_t>(kExamples)) entry.examples.push_back(example());
  }

  const Entry& operator[](ReadingKind kind) const { return entries_[static_cast<std::size_t>(kind)]; }
  std::int64_t count(ReadingKind kind) const { return (*this)[kind].count; }
  bool empty() const;
  /// A sentence for each kind that occurred, in the order of ReadingKind: what was done, how often, and the examples.
  std::vector<std::pair<ReadingKind, std::string>> lines() const;

 private:
  std::array<Entry, kReadingKinds> entries_;
};

}  // namespace usol::io
