#include "usol/pipeline/next_round.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "usol/eval/match_images.h"
#include "usol/io/coco.h"
#include "usol/io/json_stream.h"
#include "usol/io/json_text.h"
#include "usol/io/sha256.h"
#include "usol/models/preset.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"
#include "usol/train/self_train.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

// Image records as they stand, exchanged sizes included, but with the ids that the annotations have.
void copy_images(const Run& run, io::CocoWriter& writer, const std::string& file, const io::AnnotationSet& previous) {
  io::JsonSplitter splitter{fs::path(file)};
  for (io::JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
    run.throw_if_stopped();
    if (piece.kind != io::JsonPiece::Kind::kElement || piece.key != "images") continue;
    if (previous.report.count(io::ReadingKind::kTextId) == 0) {
      writer.add_image_json(piece.text);
    } else {
      Json record = Json::parse(piece.text);
      record["id"] = previous.images[static_cast<std::size_t>(piece.index)].id;
      writer.add_image_json(io::json_text(record));
    }
  }
}

// The settings of a program that chose this work among others.
struct ChosenRound {
  NextRoundConfig config;
  bool chosen = true;
  void declare(Settings& settings) { config.declare(settings, &chosen); }
};

}  // namespace

void NextRoundConfig::declare(Settings& settings, bool* asked_for) {
  settings.preset(preset, {{"paper", {}}, {"release", {}}},
                  "Of self-training. release: records as the public script writes them (docs/deviations.md)");
  settings.group("Self-training");
  if (asked_for != nullptr)
    settings.flag("self-training", *asked_for, "Make the next round's annotations of the two files below");
  settings.add("previous FILE", previous, "COCO file that the detector was trained on", OptionKind::kRun);
  settings.add("predictions FILE", predictions, "What it found on the same pictures: COCO file or results with scores",
               OptionKind::kRun);
  settings.add("image-root DIR", image_root, "The pictures, for images whose height and width the files lack",
               OptionKind::kRun);
  settings.flag("no-exif", exif, "Those heights and widths: without turning as cameras note it in their files");
  settings.choice("match", match, {"id", "file_name"}, "How pictures of the two files belong together",
                  OptionKind::kLater);
  settings.add("score NUMBER", score, "Predictions of at least this score are kept").between(0, 1);
  settings.add("overlap IOU", overlap, "Masks of before stay if they overlap each kept one less than this")
      .between(0, 1);
}

int make_next_round(const Run& run, const NextRoundConfig& config, const std::string& out) {
  for (const std::string& path : {config.previous, config.predictions})
    check(fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
  Outputs outputs(run);
  for (const std::string& path : {config.previous, config.predictions}) outputs.reads(path);
  const std::string file = outputs.file("out", out);
  if (run.dry_run) {
    run.note("would merge {} into {} and write {}", config.predictions, config.previous, file);
    return kSuccess;
  }
  const train::RoundOptions round{parse_preset(config.preset), config.score, config.overlap};
  const io::CocoReadOptions reading{.image_root = config.image_root, .apply_exif = config.exif};
  const io::AnnotationSet previous = io::read_coco(config.previous, reading);
  say_reading(run, previous);
  run.throw_if_stopped();
  io::AnnotationSet predictions = io::read_coco(config.predictions, reading);
  say_reading(run, predictions);
  eval::match_images(previous, predictions, {config.match, config.ids_are_certain});
  const train::RoundResult result = train::next_round(previous, predictions, round);
  make_folder_of(file);
  io::CocoWriter writer(file);
  std::int64_t id = 0;
  for (const train::RoundObject& object : result.objects) {
    run.throw_if_stopped();
    writer.add_annotation_json(round_record(object, ++id, round.preset));
  }
  if (round.preset == Preset::kRelease) {
    copy_images(run, writer, config.previous, previous);
  } else {
    for (const io::CocoImage& image : train::round_images(previous, result)) writer.add_image(image);
  }
  Json info = make_info(run, settings_json(ChosenRound{config}, "merge"));
  info["previous_sha256"] = io::sha256_file(config.previous);
  info["predictions_sha256"] = io::sha256_file(config.predictions);
  writer.finish(previous.categories, io::json_text(info));
  run.note("wrote {}: {} annotations: {} predicted, {} of before ({} found again, {} predictions below {})", file, id,
           result.predicted, result.previous, result.found_again, result.below_score, round.score);
  if (result.differing_sizes > 0)
    run.warn("{} pictures keep their masks of before: the predicted ones have another size", result.differing_sizes);
  return kSuccess;
}

}  // namespace usol
