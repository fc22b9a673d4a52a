#include "usol/cli/picture_options.h"

#include <exception>
#include <utility>

namespace usol {

void PictureOptions::declare(Options& options, bool with_exif) {
  if (with_exif) options.flag("--no-exif", exif, "Ignore the orientation that cameras note in their files");
  options.flag("--scale-16bit", scale_16bit_,
               "Scale grey of 16 bits (or 12, or 32) to 0 to 255: value / 257, rounded. Without it values above 255 "
               "become white, as in Pillow, and a warning says so");
  options.add("--max-pixels N", max_pixels_,
              "Pictures whose header promises more are refused before memory is taken; as Pillow's limit",
              OptionKind::kRun);
  options.at_least("max-pixels", 1);
}

DecodeOptions PictureOptions::decode() const {
  return {.apply_exif = exif, .scale_16bit = scale_16bit_, .max_pixels = max_pixels_, .warnings = warnings_.get()};
}

std::vector<std::string> PictureOptions::arguments() const {
  std::vector<std::string> words;
  if (scale_16bit_) words.push_back("--scale-16bit");
  if (max_pixels_ != DecodeOptions().max_pixels) {
    words.push_back("--max-pixels");
    words.push_back(fmt::format("{}", max_pixels_));
  }
  return words;
}

std::string PictureOptions::pixels_key() const { return fmt::format("exif {}, scale {}", exif, scale_16bit_); }

PictureOptions::Report::Report(const Common& common, std::shared_ptr<DecodeWarnings> warnings)
    : common_(common), warnings_(std::move(warnings)) {}

PictureOptions::Report::~Report() {
  try {
    for (const DecodeWarnings::Group& group : warnings_->groups()) {
      common_.warn("{} picture{}: {}{}", group.pictures, group.pictures == 1 ? "" : "s", describe(group.kind),
                   group.kind == DecodeWarning::kDeepGrey ? "; --scale-16bit scales them instead" : "");
      for (const std::string& line : group.first_lines) common_.console->line("  " + line);
      const auto more = group.pictures - static_cast<std::int64_t>(group.first_lines.size());
      if (more > 0) common_.console->line(fmt::format("  and {} more", more));
    }
  } catch (const std::exception&) {  // out of memory, while an error may be on its way
  }
}

}  // namespace usol
