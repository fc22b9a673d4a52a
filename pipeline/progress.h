#pragma once
// How far a long job is: a redrawn line with rate and time left on a terminal, now and then a plain line in a log.

#include <chrono>
#include <cstdint>
#include <string>

#include "usol/pipeline/run.h"

namespace usol {

class Progress {
 public:
  /// `total` steps of which `done` were there before (a resumed run): they do not count for the rate.
  /// `unit` is what a step is ("images").
  Progress(const Run& run, std::int64_t total, const std::string& unit, std::int64_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Counts one more step; `failed` ones are shown.
  void step(bool failed = false);
  /// Removes the line and, in a log, writes the last figures.
  void finish();
  /// "3/10 images, 2.1/s, 0:03 left, 1 failed".
  std::string text() const;

 private:
  using Clock = std::chrono::steady_clock;

  const Run& run_;
  std::int64_t total_, before_, done_, failed_ = 0;
  std::string unit_;
  Clock::time_point start_, last_shown_;
  bool finished_ = false;
};

/// Seconds as "0:07", "12:34", "3:04:05" or "2 d 3:04".
std::string format_duration(double seconds);
/// Bytes as "812 B", "3.1 kB", "45.0 MB", "1.2 GB".
std::string format_bytes(double bytes);

}  // namespace usol
