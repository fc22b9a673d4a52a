#pragma once
// Runs that are stopped by signals and resumed, again and again, for tests that compare them with an undisturbed one.

#include <fmt/format.h>

#include <functional>
#include <string>

#include "tests/support/process.h"
#include "usol/tensor/generator.h"

namespace usol::test {

struct StoppedRun {
  ProcessResult last;
  int stops = 0;
  std::string moments;  // the seconds after which each run was to be stopped, for messages
};

/// Calls `run` with options that stop its process by `signal`: the first time after `first_seconds`, then ever later,
/// by `growth`, until it ends by itself. With `random` each of these times is shortened to a random share from a half
/// on. Returns its last result and how often it was stopped. A run that ends before the first signal reaches it (on a
/// busy machine this process may be kept waiting for longer than the run takes) proves nothing: `start_anew` removes
/// what it made, and it is stopped sooner.
inline StoppedRun run_stopped(const std::function<ProcessResult(const ProcessOptions&)>& run, int signal,
                              double first_seconds, double growth, const std::function<void()>& start_anew,
                              Generator* random = nullptr) {
  constexpr int kMost = 80;
  StoppedRun result;
  double delay = first_seconds;
  for (int attempt = 0; attempt < kMost; ++attempt) {
    ProcessOptions options;
    options.kill_after_seconds = random ? delay * random->uniform(0.5, 1) : delay;
    options.kill_signal = signal;
    result.moments += fmt::format(" {:.3f}", options.kill_after_seconds);
    result.last = run(options);
    if (result.last.status == 128 + signal) {
      ++result.stops;
      delay *= growth;
    } else if (result.last.status == 0 && result.stops == 0) {
      start_anew();
      delay /= 2;
    } else {
      break;
    }
  }
  return result;
}

}  // namespace usol::test
