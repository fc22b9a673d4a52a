#pragma once
// A verb of the binary (`usol maskcut ...`): one class in one file, which registers itself. See docs/tour.md.

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/cli/console.h"
#include "usol/cli/options.h"
#include "usol/cli/outputs.h"
#include "usol/tensor/device.h"
#include "usol/tensor/dtype.h"

namespace usol {

class Communicator;

// What the process returns. Errors of kind kUsage give kBadUsage, all others kFailure; a signal n gives 128 + n.
inline constexpr int kSuccess = 0, kFailure = 1, kBadUsage = 2, kSomeInputsFailed = 3;

/// The options that every verb has, and its voice.
struct Common {
  bool quiet = false, verbose = false;
  std::int64_t threads = 0;  // 0: as many as the process may use
  std::int64_t seed = 0;
  bool deterministic = false;
  std::string device_name = "cpu";
  std::string precision = "f32";
  std::string config;
  bool print_config = false, dry_run = false, force = false, resume = false;
  std::shared_ptr<Console> console = std::make_shared<Console>();
  Communicator* ranks = nullptr;  // the processes that do this verb together (mpirun, srun); null: this one is alone

  /// The device of --device. Throws Error(kUnsupported) with the remedy if this binary or machine has none.
  Device device() const;
  /// The number format of models for --precision on that device. Throws Error(kUnsupported) with the remedy for what
  /// the device or this build cannot do.
  DType compute_dtype(const Device& device) const;
  /// What may become of outputs that are there, after --force and --resume.
  Existing existing() const { return force ? Existing::kReplace : resume ? Existing::kContinue : Existing::kRefuse; }
  /// True in one of the processes: the one that speaks, and writes what there is one of.
  bool leads() const;
  /// What `work`, done by the process that leads while the others wait, has returned: in all of them. All must ask.
  int by_leader(const std::function<int()>& work) const;
  /// A message for people, on stderr; silent with -q.
  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) const {
    if (!quiet) console->line(fmt::format(format, std::forward<Args>(args)...));
  }
  /// A message for -v.
  template <class... Args>
  void detail(fmt::format_string<Args...> format, Args&&... args) const {
    if (verbose && !quiet) console->line(fmt::format(format, std::forward<Args>(args)...));
  }
  /// A message that -q does not silence.
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) const {
    console->line("warning: " + fmt::format(format, std::forward<Args>(args)...));
  }

  void declare(Options& options);
};

class Verb {
 public:
  virtual ~Verb() = default;
  /// Declares the verb's options, bound to its members.
  virtual void declare(Options& options) = 0;
  /// Does the work once the options are read; returns the exit status. Throws Error.
  virtual int run(const Common& common, const Options& options) = 0;
  /// True if processes that were started together share the work: each calls run(). Else one of them does it all.
  virtual bool shares_work() const { return false; }
};

struct VerbEntry {
  std::string name, summary;
  std::unique_ptr<Verb> (*make)();
};

/// All registered verbs, in the order of the pipeline.
std::vector<VerbEntry> verbs();
/// True for the name of a verb.
bool is_verb(const std::string& name);
/// Called before main by RegisterVerb.
void add_verb(VerbEntry entry);

/// Last line of a verb's file: `const RegisterVerb<MaskcutVerb> kMaskcut("maskcut", "pseudo-masks from pictures");`
template <class V>
struct RegisterVerb {
  RegisterVerb(const char* name, const char* summary) {
    add_verb({name, summary, []() -> std::unique_ptr<Verb> { return std::make_unique<V>(); }});
  }
};

}  // namespace usol
