#include "usol/train/picture_check.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <iterator>
#include <mutex>
#include <thread>

#include "usol/io/picture_path.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::train {
namespace {

// Threads mostly wait for disks, so there are more than processors.
constexpr int kLeastThreads = 8;
constexpr std::int64_t kAtOnce = 64;  // pictures that a thread takes

void check_picture(std::int64_t index, const ExpectedPicture& picture, const io::DecodeOptions& decode,
                   PictureReport& report) {
  Size size;
  try {
    size = io::image_size(picture.path, decode);
  } catch (const Error& error) {
    report.unreadable.push_back({index, error.what()});
    return;
  }
  if (picture.size == Size{} || picture.size == size) return;
  report.mismatched.push_back({index, picture.path.string(), picture.size, size,
                               io::fits_with_other_exif(picture.path, picture.size, decode.apply_exif)});
}

}  // namespace

Tensor decode_picture(const std::filesystem::path& path, const io::DecodeOptions& decode) {
  try {
    return io::decode_image(path, decode);
  } catch (const Error& error) {
    const bool of_the_file =
        error.kind() == ErrorKind::kIo || error.kind() == ErrorKind::kFormat || error.kind() == ErrorKind::kUnsupported;
    if (!of_the_file) throw;
    throw UnreadablePicture(error.kind(), error.what());
  }
}

PictureReport check_pictures(std::int64_t count, const std::function<ExpectedPicture(std::int64_t)>& picture,
                             io::DecodeOptions decode, const std::function<bool()>& stop) {
  const auto start = std::chrono::steady_clock::now();
  PictureReport report;
  report.apply_exif = decode.apply_exif;
  decode.warnings = nullptr;  // whoever decodes the pictures hears them
  std::mutex mutex;
  std::exception_ptr error;
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stopped{false};
  const auto work = [&] {
    PictureReport own;
    try {
      while (!stopped) {
        const std::int64_t first = next.fetch_add(kAtOnce), end = std::min(first + kAtOnce, count);
        if (first >= count) break;
        if (stop && stop()) stopped = true;
        for (std::int64_t i = first; i < end; ++i) check_picture(i, picture(i), decode, own);
        own.pictures += end - first;
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      stopped = true;
    }
    const std::lock_guard lock(mutex);
    report.pictures += own.pictures;
    std::move(own.unreadable.begin(), own.unreadable.end(), std::back_inserter(report.unreadable));
    std::move(own.mismatched.begin(), own.mismatched.end(), std::back_inserter(report.mismatched));
  };
  const std::int64_t most = std::max(thread_count(), kLeastThreads);
  std::vector<std::thread> threads;
  for (std::int64_t i = 0; i < std::min(most, (count + kAtOnce - 1) / kAtOnce); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
  const auto by_index = [](const auto& a, const auto& b) { return a.index < b.index; };
  std::sort(report.unreadable.begin(), report.unreadable.end(), by_index);
  std::sort(report.mismatched.begin(), report.mismatched.end(), by_index);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

std::string to_string(const PictureReport::Mismatch& mismatch) {
  const auto& [index, file, expected, got, fits_with_other_exif] = mismatch;
  const bool exchanged = expected.height == got.width && expected.width == got.height;
  return fmt::format("{}: {} x {} pixels (height x width), but its annotations say {} x {}{}", file, got.height,
                     got.width, expected.height, expected.width,
                     fits_with_other_exif ? ": they and this reading differ in whether its EXIF orientation turns it"
                     : exchanged          ? ": height and width are exchanged"
                                          : "");
}

}  // namespace usol::train
