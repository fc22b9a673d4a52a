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

#include "usol/cli/options.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/run.h"
#include "usol/tensor/device.h"
#include "usol/tensor/dtype.h"

namespace usol {
class Communicator;
}

namespace usol::cli {

// What the process returns, beside kSuccess and kSomeInputsFailed. Errors of usage, of results in the way and of other
// settings give kBadUsage, all others kFailure; a signal n gives 128 + n.
inline constexpr int kFailure = 1, kBadUsage = 2;

/// The options that every verb has.
struct Common {
  bool quiet = false, verbose = false;
  std::int64_t threads = 0;  // 0: as many as the process may use
  std::int64_t seed = 0;
  bool deterministic = false;
  std::string device_name = "cpu";
  std::string precision = "f32";
  std::string config;
  bool print_config = false, dry_run = false, force = false, resume = false;

  void declare(Options& options);
  /// How the verb's work is done, by these options; `options` are all of the verb's. Throws Error(kUnsupported) with
  /// the remedy if this binary or machine does not have the device, or the device not the precision.
  Run run(const std::string& verb, const Options& options, Communicator* ranks) const;

 private:
  Device device(const Communicator* ranks) const;
  DType compute_dtype(const Device& device, bool trains) const;
};

class Verb {
 public:
  virtual ~Verb() = default;
  /// Declares the verb's options, bound to its members.
  virtual void declare(Options& options) = 0;
  /// Does the work once the options are read; returns the exit status. Throws Error.
  virtual int run(const Run& run, const Options& options) = 0;
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

}  // namespace usol::cli
