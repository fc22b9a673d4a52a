#include "usol/pipeline/progress.h"

#include <algorithm>
#include <cmath>

namespace usol {
namespace {

constexpr double kTerminalSeconds = 0.2, kLogSeconds = 30;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

std::string format_duration(double seconds) {
  const auto s = static_cast<std::int64_t>(std::llround(std::clamp(seconds, 0.0, 1e12)));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{} d {}:{:02}", s / 86400, s / 3600 % 24, s / 60 % 60);
}

std::string format_bytes(double bytes) {
  if (bytes < 1000) return fmt::format("{:.0f} B", bytes);
  const char* unit = "kB";
  bytes /= 1000;
  for (const char* next : {"MB", "GB", "TB"}) {
    if (bytes < 999.95) break;
    bytes /= 1000;
    unit = next;
  }
  return fmt::format("{:.1f} {}", bytes, unit);
}

Progress::Progress(const Run& run, std::int64_t total, const std::string& unit, std::int64_t done)
    : run_(run), total_(total), before_(done), done_(done), unit_(unit), start_(Clock::now()), last_shown_(start_) {}

Progress::~Progress() {
  if (!finished_) run_.log->set_progress("");
}

void Progress::step(bool failed) {
  ++done_;
  failed_ += failed;
  if (run_.verbosity == Verbosity::kQuiet || done_ == total_) return;  // finish() says the rest
  const auto now = Clock::now();
  const bool terminal = run_.log->shows_progress();
  if (seconds_between(last_shown_, now) < (terminal ? kTerminalSeconds : kLogSeconds)) return;
  last_shown_ = now;
  if (terminal) {
    const double part = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
    constexpr int kBar = 24;
    const int filled = static_cast<int>(part * kBar);
    std::string line = fmt::format("[{}{}] {}", std::string(filled, '='), std::string(kBar - filled, ' '), text());
    line.resize(std::min(line.size(), static_cast<std::size_t>(run_.log->columns() - 1)));
    run_.log->set_progress(line);
  } else {
    run_.list(text());
  }
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  run_.log->set_progress("");
  const double seconds = seconds_between(start_, Clock::now());
  const auto here = done_ - before_;
  run_.note("{} {} in {} ({:.3g}/s){}", here, unit_, format_duration(seconds),
            static_cast<double>(here) / std::max(seconds, 1e-9),
            failed_ > 0 ? fmt::format(", {} failed", failed_) : "");
}

std::string Progress::text() const {
  const double seconds = seconds_between(start_, Clock::now());
  const auto here = static_cast<double>(done_ - before_);
  std::string out = fmt::format("{}/{} {}", done_, total_, unit_);
  if (here > 0 && seconds > 0) {
    const double rate = here / seconds;
    out += fmt::format(", {:.3g}/s, {} left", rate, format_duration(static_cast<double>(total_ - done_) / rate));
  }
  if (failed_ > 0) out += fmt::format(", {} failed", failed_);
  return out;
}

}  // namespace usol
