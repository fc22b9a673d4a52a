#pragma once
// How pictures are read: the options of every verb that reads any, and the decoders' warnings, which it says at its
// end.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "usol/cli/options.h"
#include "usol/cli/verb.h"
#include "usol/io/decode_warnings.h"
#include "usol/io/image.h"

namespace usol {

class PictureOptions {
 public:
  bool exif = true;

  /// Declares --scale-16bit and --max-pixels, and --no-exif unless the verb decides about that itself.
  void declare(Options& options, bool with_exif = true);
  /// For decode_image(). The warnings go to a collector that all copies of these options share.
  DecodeOptions decode() const;
  /// The options but --no-exif as words of a command line, those that are not the default.
  std::vector<std::string> arguments() const;
  /// What changes pixels, as text: equal for two verbs that read the same ones.
  std::string pixels_key() const;

  /// Says the warnings when it goes out of scope: at the end of a verb, however that comes.
  class Report {
   public:
    Report(const Common& common, std::shared_ptr<DecodeWarnings> warnings);
    ~Report();
    Report(const Report&) = delete;
    Report& operator=(const Report&) = delete;

   private:
    const Common& common_;
    std::shared_ptr<DecodeWarnings> warnings_;
  };
  [[nodiscard]] Report report_at_end(const Common& common) const { return {common, warnings_}; }

 private:
  bool scale_16bit_ = false;
  std::int64_t max_pixels_ = DecodeOptions().max_pixels;
  std::shared_ptr<DecodeWarnings> warnings_ = std::make_shared<DecodeWarnings>();
};

}  // namespace usol
