#include "usol/pipeline/picture_options.h"

#include <exception>
#include <utility>

namespace usol {

void PictureOptions::declare(Settings& settings, bool with_exif) {
  if (with_exif) settings.flag("no-exif", exif, "Ignore the orientation that cameras note in their files");
  settings.flag("scale-16bit", scale_16bit,
                "Scale grey of 16 bits (or 12, or 32) to 0 to 255: value / 257, rounded. Without it values above 255 "
                "become white, as in Pillow, and a warning says so");
  settings
      .add("max-pixels N", max_pixels,
           "Pictures whose header promises more are refused before memory is taken; as Pillow's limit",
           OptionKind::kRun)
      .at_least(1);
}

io::DecodeOptions PictureOptions::decode() const {
  return {.apply_exif = exif, .scale_16bit = scale_16bit, .max_pixels = max_pixels, .warnings = warnings_.get()};
}

PictureOptions PictureOptions::for_another_job() const {
  PictureOptions other = *this;
  other.warnings_ = std::make_shared<io::DecodeWarnings>();
  return other;
}

std::string PictureOptions::pixels_key() const { return fmt::format("exif {}, scale {}", exif, scale_16bit); }

PictureOptions::Report::Report(const Run& run, std::shared_ptr<io::DecodeWarnings> warnings)
    : run_(run), warnings_(std::move(warnings)) {}

PictureOptions::Report::~Report() {
  try {
    for (const io::DecodeWarnings::Group& group : warnings_->groups()) {
      run_.warn("{} picture{}: {}{}", group.pictures, group.pictures == 1 ? "" : "s", describe(group.kind),
                group.kind == io::DecodeWarning::kDeepGrey ? "; the setting scale-16bit scales them instead" : "");
      for (const std::string& line : group.first_lines) run_.list("  " + line);
      const auto more = group.pictures - static_cast<std::int64_t>(group.first_lines.size());
      if (more > 0) run_.list(fmt::format("  and {} more", more));
    }
  } catch (const std::exception&) {  // out of memory, while an error may be on its way
  }
}

}  // namespace usol
