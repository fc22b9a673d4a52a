// usol info: what files of weights hold, and which model they fit. The work is in pipeline/describe_checkpoint.h.
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/pipeline/describe_checkpoint.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class InfoVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.positional(
        "WEIGHTS", files_,
        "Files of weights: .pth, .bin, .pkl or .safetensors, an index of several (.json), a hub's folder");
    options.add("--entry NAME", checkpoint_.entry,
                "Look at this entry of the file's dict (\"student\", \"a/b\") or at names behind a prefix "
                "(\"model/teacher.\", a dot at its end)",
                OptionKind::kRun);
    options.flag("--raw-names", raw_names_, "Show names as the file has them", OptionKind::kRun);
    options.flag("--json", json_, "One line of JSON per file instead of text", OptionKind::kRun);
    options.example("usol info dino_deitsmall16_pretrain.pth", "what the file holds, and which model it fits");
    options.example("usol info -v --entry student full_checkpoint.pth", "another entry, every tensor listed");
  }

  int run(const Run& run, const Options&) override {
    check(!files_.empty(), ErrorKind::kUsage, "no file given; try `usol info WEIGHTS`");
    checkpoint_.map_keys = !raw_names_;
    const bool every_tensor = run.verbosity == Verbosity::kDetailed;
    int failed = 0;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      try {
        const CheckpointDescription found = describe_checkpoint(files_[i], checkpoint_);
        fmt::print("{}{}", i > 0 && !json_ ? "\n" : "", json_ ? found.json().dump() + "\n" : found.text(every_tensor));
      } catch (const Error& error) {
        if (files_.size() == 1) throw;
        run.warn("{}", error.what());
        ++failed;
      }
    }
    return failed == 0 ? kSuccess : kSomeInputsFailed;
  }

 private:
  std::vector<std::string> files_;
  io::CheckpointOptions checkpoint_;
  bool raw_names_ = false, json_ = false;
};

const RegisterVerb<InfoVerb> kInfo("info", "what a file of weights holds, and which model it fits");

}  // namespace
}  // namespace usol::cli
