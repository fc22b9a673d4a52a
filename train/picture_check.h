#pragma once
// Looks at the headers of all pictures before a training begins: what is missing, is no picture, or has another size
// than its annotations say would else end it hours later.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "usol/io/image.h"
#include "usol/tensor/error.h"

namespace usol::train {

/// A picture that could not be read or decoded.
struct SkippedPicture {
  std::int64_t index = 0;  // in its data set
  std::string why;         // names the file
};

/// A picture that is missing, damaged, or of an unknown kind; the message names the file.
class UnreadablePicture : public Error {
 public:
  using Error::Error;
};

/// decode_image(), whose errors are an UnreadablePicture if the file is at fault.
Tensor decode_picture(const std::filesystem::path& path, const io::DecodeOptions& decode);

struct PictureReport {
  /// A picture of another size than expected.
  struct Mismatch {
    std::int64_t index = 0;
    std::string file;
    Size expected, got;
    bool fits_with_other_exif = false;  // io/picture_path.h
  };
  std::int64_t pictures = 0;
  std::vector<SkippedPicture> unreadable;  // ascending
  std::vector<Mismatch> mismatched;        // ascending
  bool apply_exif = true;                  // how sizes were taken
  double seconds = 0;
};

struct ExpectedPicture {
  std::filesystem::path path;
  Size size;  // 0 x 0: any
};
/// Reads the headers of pictures 0 ... count - 1, several at a time; `picture` is called from several threads. `stop`
/// is asked now and then: once it says yes, the report is of the pictures so far.
PictureReport check_pictures(std::int64_t count, const std::function<ExpectedPicture(std::int64_t)>& picture,
                             io::DecodeOptions decode, const std::function<bool()>& stop = {});

/// "FILE: 80 x 60 pixels (height x width), but its annotations say 60 x 80: ...", with the reason where it is known.
std::string to_string(const PictureReport::Mismatch& mismatch);

}  // namespace usol::train
