#include "usol/io/reading_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace usol::io {

namespace {

struct About {
  ReadingEffect effect;
  std::string_view text;
};

// In the order of ReadingKind.
constexpr std::array<About, kReadingKinds> kAbout = {{
    {ReadingEffect::kChanged,
     "ids that are text, or above 2^63 - 1 (numbers made of the text stand for them, the same in every file)"},
    {ReadingEffect::kChanged, "annotations without an id of their own (given new ones)"},
    {ReadingEffect::kKept,
     "file names with backslashes (kept; where there is no such picture, it is looked for with / in their place)"},
    {ReadingEffect::kFilledIn, "images without height and width (taken from a mask)"},
    {ReadingEffect::kFilledIn, "images without height and width (taken from the picture)"},
    {ReadingEffect::kKept, "images without height and width (unknown)"},
    {ReadingEffect::kChanged, "images whose height and width were exchanged, as their masks show (put right)"},
    {ReadingEffect::kLeftOut, "annotations of images that the file lacks (left out)"},
    {ReadingEffect::kLeftOut, "annotations of categories that the file lacks (left out)"},
    {ReadingEffect::kLeftOut, "polygons of fewer than three points (left out)"},
    {ReadingEffect::kLeftOut, "annotations of which no polygon is left (kept without a mask)"},
    {ReadingEffect::kFilledIn, "annotations without an area (taken from the mask)"},
    {ReadingEffect::kFilledIn, "annotations without an area and a mask (taken from the box)"},
    {ReadingEffect::kFilledIn, "annotations without a box (taken from the mask)"},
    {ReadingEffect::kKept, "boxes that reach beyond their image (kept as they are)"},
    {ReadingEffect::kChanged, "boxes with a corner below 1, where VOC's pixels begin (cut off there)"},
}};

}  // namespace

ReadingEffect effect_of(ReadingKind kind) { return kAbout[static_cast<std::size_t>(kind)].effect; }

bool ReadingReport::empty() const {
  return std::all_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.count == 0; });
}

std::vector<std::pair<ReadingKind, std::string>> ReadingReport::lines() const {
  std::vector<std::pair<ReadingKind, std::string>> lines;
  for (std::size_t k = 0; k < kReadingKinds; ++k) {
    const Entry& entry = entries_[k];
    if (entry.count == 0) continue;
    const std::int64_t more = entry.count - static_cast<std::int64_t>(entry.examples.size());
    lines.emplace_back(static_cast<ReadingKind>(k),
                       fmt::format("{} {}: {}{}", entry.count, kAbout[k].text, fmt::join(entry.examples, "; "),
                                   more > 0 ? fmt::format("; and {} more", more) : ""));
  }
  return lines;
}

}  // namespace usol::io
