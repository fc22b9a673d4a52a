#pragma once
// How pictures are read: the options of every verb that reads any, and the decoders' warnings, which it says at its
// end.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "usol/io/decode_warnings.h"
#include "usol/io/image.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

class PictureOptions {
 public:
  bool exif = true, scale_16bit = false;
  std::int64_t max_pixels = io::DecodeOptions().max_pixels;

  /// Declares scale-16bit and max-pixels, and no-exif unless the verb decides about that itself.
  void declare(Settings& settings, bool with_exif = true);
  /// For decode_image(). The warnings go to a collector that all copies of these options share.
  io::DecodeOptions decode() const;
  /// The same options with a collector of their own: for another job, that says its own warnings.
  PictureOptions for_another_job() const;
  /// What changes pixels, as text: equal for two verbs that read the same ones.
  std::string pixels_key() const;

  /// Says the warnings when it goes out of scope: at the end of a verb, however that comes.
  class Report {
   public:
    Report(const Run& run, std::shared_ptr<io::DecodeWarnings> warnings);
    ~Report();
    Report(const Report&) = delete;
    Report& operator=(const Report&) = delete;

   private:
    const Run& run_;
    std::shared_ptr<io::DecodeWarnings> warnings_;
  };
  [[nodiscard]] Report report_at_end(const Run& run) const { return {run, warnings_}; }

 private:
  std::shared_ptr<io::DecodeWarnings> warnings_ = std::make_shared<io::DecodeWarnings>();
};

}  // namespace usol
