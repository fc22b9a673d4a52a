// usol merge: the outputs of --shard 1/N ... N/N -> the one file that a single run would have written, byte for byte.
// With --self-training: what a detector found and what it was trained on -> the annotations of the next round. The work
// is in pipeline/merge_shards.h and next_round.h.
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/pipeline/merge_shards.h"
#include "usol/pipeline/next_round.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class MergeVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Checks that the files are all parts of one run, and writes what that run would have written without --shard, "
        "byte for byte.");
    options.about(
        "With --self-training it makes the annotations of the next round of training instead: what the detector found "
        "on its training pictures with enough confidence, and the masks it was trained on that it did not find again.");
    options.group("Merging");
    options.positional("SHARD", shards_, "Outputs of runs with --shard K/N: all N of them, in any order");
    options.add("--out FILE", out_, "The COCO file to write", OptionKind::kRun);
    round_.declare(options, &self_training_);
    options.example("usol maskcut images --weights W.pth --out part1.json --shard 1/2", "Two halves, on two machines,");
    options.example("usol maskcut images --weights W.pth --out part2.json --shard 2/2", "the second one,");
    options.example("usol merge part1.json part2.json --out all.json",
                    "and the file that one machine would have written");
    options.example("usol merge --self-training --previous masks.json --predictions found.json --out round1.json",
                    "The annotations of the first round of self-training");
  }

  int run(const Run& run, const Options& options) override {
    if (self_training_) {
      check(shards_.empty(), ErrorKind::kUsage, "--self-training takes --previous and --predictions, no other files");
      check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
      for (const auto& [name, path] : {std::pair{"previous", round_.previous}, {"predictions", round_.predictions}}) {
        check(!path.empty(), ErrorKind::kUsage, "--{} FILE is missing", name);
        check(std::filesystem::exists(path), ErrorKind::kUsage, "--{} {}: no such file", name, path);
      }
      round_.ids_are_certain = options.given("match");
      return make_next_round(run, round_, out_);
    }
    for (const char* key : {"previous", "predictions", "image-root", "exif", "match", "score", "overlap"})
      check(!options.given(key), ErrorKind::kUsage, "--{} goes with --self-training", key);
    check(!shards_.empty(), ErrorKind::kUsage, "no input: give the outputs of all shards");
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    return merge_shards(run, shards_, out_);
  }

 private:
  std::vector<std::string> shards_;
  NextRoundConfig round_;
  std::string out_;
  bool self_training_ = false;
};

const RegisterVerb<MergeVerb> kMerge("merge", "join shards into the file of one run; or a round of self-training");

}  // namespace
}  // namespace usol::cli
