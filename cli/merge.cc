// usol merge: the outputs of --shard 1/N ... N/N -> the one file that a single run would have written, byte for byte.
// With --self-training: what a detector found and what it was trained on -> the annotations of the next round.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/signals.h"
#include "usol/cli/verb.h"
#include "usol/io/json_stream.h"
#include "usol/io/sha256.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"
#include "usol/train/self_train.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol::cli {
namespace {

struct ShardFile {
  std::string path;
  Shard shard;
  Json info;
  std::vector<io::CocoCategory> categories;
};

ShardFile read_head(const std::string& path) {
  check(fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
  io::AnnotationSet set = io::read_coco(path, {.images = false, .annotations = false});
  ShardFile file{path, {}, Json::parse(set.info_json, nullptr, false), std::move(set.categories)};
  check(file.info.is_object() && file.info.contains("shard") && file.info["shard"].is_string(), ErrorKind::kUsage,
        "{}: is no shard (its info has no \"shard\"; --shard K/N makes them)", path);
  file.shard = Shard::parse(file.info["shard"].get<std::string>());
  return file;
}

std::set<std::string> split_devices(const Json& info) {
  std::set<std::string> devices;
  std::string text = info.value("device", "");
  for (std::size_t end = text.find("; "); end != std::string::npos; end = text.find("; ")) {
    devices.insert(text.substr(0, end));
    text.erase(0, end + 2);
  }
  devices.insert(text);
  return devices;
}

class MergeVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Checks that the files are all parts of one run, and writes what that run would have written without --shard, "
        "byte for byte.");
    options.about(
        "With --self-training it makes the annotations of the next round of training instead: what the detector found "
        "on its training pictures with enough confidence, and the masks it was trained on that it did not find again.");
    options.preset(preset_, {{"paper", {}}, {"release", {}}},
                   "Of --self-training. release: records as the public script writes them (docs/deviations.md)");
    options.group("Merging");
    options.positional("SHARD", shards_, "Outputs of runs with --shard K/N: all N of them, in any order");
    options.add("--out FILE", out_, "The COCO file to write", OptionKind::kRun);
    options.flag("--self-training", self_training_, "Make the next round's annotations of the two files below");
    options.add("--previous FILE", previous_, "COCO file that the detector was trained on", OptionKind::kRun);
    options.add("--predictions FILE", predictions_,
                "What it found on the same pictures: COCO file or results with scores", OptionKind::kRun);
    options.add("--image-root DIR", image_root_, "The pictures, for images whose height and width the files lack",
                OptionKind::kRun);
    options.flag("--no-exif", exif_, "Those heights and widths: without turning as cameras note it in their files");
    options.add("--score NUMBER", round_.score, "Predictions of at least this score are kept").between(0, 1);
    options.add("--overlap IOU", round_.iou, "Masks of before stay if they overlap each kept one less than this")
        .between(0, 1);
    options.example("usol maskcut images --weights W.pth --out part1.json --shard 1/2", "Two halves, on two machines,");
    options.example("usol maskcut images --weights W.pth --out part2.json --shard 2/2", "the second one,");
    options.example("usol merge part1.json part2.json --out all.json",
                    "and the file that one machine would have written");
    options.example("usol merge --self-training --previous masks.json --predictions found.json --out round1.json",
                    "The annotations of the first round of self-training");
  }

  int run(const Run& run, const Options& options) override {
    if (self_training_) return self_training(run);
    for (const char* key : {"previous", "predictions", "image-root", "exif", "score", "overlap"})
      check(!options.given(key), ErrorKind::kUsage, "--{} goes with --self-training", key);
    check(!shards_.empty(), ErrorKind::kUsage, "no input: give the outputs of all shards");
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    const auto files = collect();
    Json info = merged_info(run, files);
    check_outputs(run);
    if (run.dry_run) {
      run.note("would join {} shards into {}", files.size(), out_);
      return kSuccess;
    }
    make_folder_of(out_);
    RecordAssembler assembler(out_);
    for (const auto& file : files) {
      io::JsonSplitter splitter{fs::path(file.path)};
      for (io::JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
        run.throw_if_stopped();
        if (piece.kind != io::JsonPiece::Kind::kElement) continue;
        if (piece.key == "images") assembler.add_image(piece.text);
        if (piece.key == "annotations") assembler.add_annotation(piece.text);
      }
    }
    assembler.finish(files[0].categories, info);
    run.note("wrote {}: {} images, {} annotations, from {} shards", out_, assembler.images(), assembler.annotations(),
             files.size());
    if (info.contains("failed")) run.warn("{} images had failed; info.failed names them", info["failed"].size());
    return kSuccess;
  }

 private:
  void check_outputs(const Run& run) {
    Outputs outputs(run);
    outputs.reads(shards_);
    for (const std::string& path : {previous_, predictions_}) outputs.reads(path);
    out_ = outputs.file("--out", out_);
  }

  int self_training(const Run& run) {
    check(shards_.empty(), ErrorKind::kUsage, "--self-training takes --previous and --predictions, no other files");
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    for (const auto& [name, path] : {std::pair{"previous", previous_}, {"predictions", predictions_}}) {
      check(!path.empty(), ErrorKind::kUsage, "--{} FILE is missing", name);
      check(fs::exists(path), ErrorKind::kUsage, "--{} {}: no such file", name, path);
    }
    check_outputs(run);
    if (run.dry_run) {
      run.note("would merge {} into {} and write {}", predictions_, previous_, out_);
      return kSuccess;
    }
    train::RoundOptions round = round_;
    round.preset = parse_preset(preset_);
    const io::CocoReadOptions reading{.image_root = image_root_, .apply_exif = exif_};
    const io::AnnotationSet previous = io::read_coco(previous_, reading);
    say_reading(run, previous);
    run.throw_if_stopped();
    const io::AnnotationSet predictions = io::read_coco(predictions_, reading);
    say_reading(run, predictions);
    const train::RoundResult result = train::next_round(previous, predictions, round);
    make_folder_of(out_);
    io::CocoWriter writer(out_);
    std::int64_t id = 0;
    for (const train::RoundObject& object : result.objects) {
      run.throw_if_stopped();
      writer.add_annotation_json(round_record(object, ++id, round.preset));
    }
    if (round.preset == Preset::kRelease) {
      copy_images(writer, previous);
    } else {
      for (const io::CocoImage& image : train::round_images(previous, result)) writer.add_image(image);
    }
    Json info = make_info(run, "{}");
    info["previous_sha256"] = io::sha256_file(previous_);
    info["predictions_sha256"] = io::sha256_file(predictions_);
    writer.finish(previous.categories, info.dump());
    run.note("wrote {}: {} annotations: {} predicted, {} of before ({} found again, {} predictions below {})", out_, id,
             result.predicted, result.previous, result.found_again, result.below_score, round.score);
    if (result.differing_sizes > 0)
      run.warn("{} pictures keep their masks of before: the predicted ones have another size", result.differing_sizes);
    return kSuccess;
  }

  // Image records as they stand, exchanged sizes included, but with the ids that the annotations have.
  void copy_images(io::CocoWriter& writer, const io::AnnotationSet& previous) const {
    io::JsonSplitter splitter{fs::path(previous_)};
    for (io::JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
      if (piece.kind != io::JsonPiece::Kind::kElement || piece.key != "images") continue;
      if (previous.report.count(io::ReadingKind::kTextId) == 0) {
        writer.add_image_json(piece.text);
      } else {
        Json record = Json::parse(piece.text);
        record["id"] = previous.images[static_cast<std::size_t>(piece.index)].id;
        writer.add_image_json(record.dump());
      }
    }
  }

  // All shards in order. Throws Error(kUsage) unless they are 1..N.
  std::vector<ShardFile> collect() const {
    std::vector<ShardFile> files;
    for (const auto& path : shards_) files.push_back(read_head(path));
    std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.shard.index < b.shard.index; });
    const auto count = files[0].shard.count;
    std::vector<std::string> missing;
    std::int64_t expected = 1;
    for (const auto& file : files) {
      check(file.shard.count == count, ErrorKind::kUsage, "{} is one of {} shards, {} one of {}", files[0].path, count,
            file.path, file.shard.count);
      check(file.shard.index >= expected, ErrorKind::kUsage, "{} is shard {}/{} a second time", file.path,
            file.shard.index, count);
      for (; expected < file.shard.index; ++expected) missing.push_back(fmt::format("{}/{}", expected, count));
      ++expected;
    }
    for (; expected <= count; ++expected) missing.push_back(fmt::format("{}/{}", expected, count));
    if (missing.size() > 20) missing.resize(20);
    check(missing.empty(), ErrorKind::kUsage, "shards are missing: {}", fmt::join(missing, ", "));
    return files;
  }

  // What one run's info would be. Throws Error(kUsage) if the shards are parts of different runs.
  static Json merged_info(const Run& run, const std::vector<ShardFile>& files) {
    const auto common_part = [](Json info) {
      for (const char* key : {"shard", "device", "failed"}) info.erase(key);
      return info;
    };
    Json info = common_part(files[0].info);
    std::set<std::string> devices;
    Json failed = Json::array();
    for (const auto& file : files) {
      const std::string changed = describe_differences(info, common_part(file.info));
      check(changed.empty(), ErrorKind::kUsage, "{} and {} are not parts of one run: {}", files[0].path, file.path,
            changed);
      devices.merge(split_devices(file.info));
      if (file.info.contains("failed"))
        failed.insert(failed.end(), file.info["failed"].begin(), file.info["failed"].end());
    }
    if (devices.size() > 1) {
      run.warn("the shards were made on different devices ({}): one device may give other last digits",
               fmt::join(devices, "; "));
    }
    info["device"] = fmt::format("{}", fmt::join(devices, "; "));
    if (!failed.empty()) info["failed"] = std::move(failed);
    return info;
  }

  std::vector<std::string> shards_;
  std::string out_, previous_, predictions_, preset_ = "paper";
  std::string image_root_;
  bool self_training_ = false, exif_ = true;
  train::RoundOptions round_;
};

const RegisterVerb<MergeVerb> kMerge("merge", "join shards into the file of one run; or a round of self-training");

}  // namespace
}  // namespace usol::cli
