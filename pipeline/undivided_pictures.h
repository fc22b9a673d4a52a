#pragma once
// Pictures in whose features a method could not tell object from background: counted while a job is at work, and said
// at its end if they are many. Of `usol maskcut`, `run` and `discover`.

#include <atomic>
#include <cstdint>
#include <string>

#include "usol/pipeline/run.h"

namespace usol {

/// Counted from any thread.
struct UndividedPictures {
  std::atomic<std::int64_t> pictures = 0, undivided = 0;

  void add(bool is_undivided) {
    ++pictures;
    if (is_undivided) ++undivided;
  }
  /// Warns if more than half of the pictures are undivided: then it is the features or a threshold, not the pictures.
  /// `why` ends the sentence, and says what to do (maskcut::Discoverer::why_undivided()).
  void say(const Run& run, const std::string& why) const {
    if (2 * undivided <= pictures) return;
    run.warn("{} of {} pictures could not be divided, since {}", undivided.load(), pictures.load(), why);
  }
};

}  // namespace usol
