#pragma once
// How a long job is done, whatever it does: where, with which numbers, with whom, what becomes of results that are
// there already, and who hears of it. Every function of pipeline/ takes one. A default Run works on the CPU in f32,
// silently, and refuses to touch results.

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "usol/pipeline/log.h"
#include "usol/tensor/device.h"
#include "usol/tensor/dtype.h"

namespace usol {

class Communicator;

/// What to do about results that are there already, as far as usol wrote them; others are never touched.
enum class Existing {
  kRefuse,    // nothing: they are an error that names them
  kReplace,   // start anew
  kContinue,  // go on where a run that was interrupted stopped; other settings than its are an error
};

/// What a job returns, and the binary as its exit status. A job that was asked to stop (Run::stop) by the reason n
/// returns 128 + n: it can go on later, with Existing::kContinue.
inline constexpr int kSuccess = 0, kSomeInputsFailed = 3;

enum class Verbosity { kQuiet, kNormal, kDetailed };

struct Run {
  Device device = {};
  DType precision = DType::kF32;  // of matrix products and convolutions
  std::uint64_t seed = 0;         // of everything random
  bool deterministic = false;     // the same bits in every run, at some cost in speed
  Communicator* ranks = nullptr;  // the processes that do this job together; null: this one is alone
  Existing existing = Existing::kRefuse;
  bool dry_run = false;  // say what would be done, write nothing
  Verbosity verbosity = Verbosity::kNormal;
  std::shared_ptr<LogSink> log = std::make_shared<SilentLog>();
  /// Asked now and then, on the calling thread. Another value than 0 ends the job where it can go on later, and stands
  /// in its result: a signal's number, say.
  std::function<int()> stop = {};
  /// What outputs say about their making: who ("usol maskcut"), and the settings as a JSON object; without one, those
  /// of the job.
  std::string made_by = "usol library", settings_json = {};
  std::vector<std::string> also_read = {};  // files that were read before the job (its settings): never its outputs

  bool replaces() const { return existing == Existing::kReplace; }
  bool continues() const { return existing == Existing::kContinue; }
  int stop_asked() const { return stop ? stop() : 0; }
  /// Throws Error(kInterrupted) if a stop was asked for.
  void throw_if_stopped() const;
  /// True in one of the processes: the one that speaks, and writes what there is one of.
  bool leads() const;
  /// Does `work` in the process that leads while the others wait, and returns its result in all. All must call it.
  int by_leader(const std::function<int()>& work) const;

  /// A message for people.
  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) const {
    if (verbosity != Verbosity::kQuiet) log->line(fmt::format(format, std::forward<Args>(args)...));
  }
  /// One for those who want to know more.
  template <class... Args>
  void detail(fmt::format_string<Args...> format, Args&&... args) const {
    if (verbosity == Verbosity::kDetailed) log->line(fmt::format(format, std::forward<Args>(args)...));
  }
  /// One that is never left out.
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) const {
    log->line("warning: " + fmt::format(format, std::forward<Args>(args)...));
  }
  /// A line that belongs to the warning before it.
  void list(const std::string& text) const { log->line(text); }
};

}  // namespace usol
