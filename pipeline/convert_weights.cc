#include "usol/pipeline/convert_weights.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/json_text.h"
#include "usol/io/key_map.h"
#include "usol/io/pth.h"
#include "usol/io/safetensors.h"
#include "usol/models/describe.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {

void WeightsConversion::declare(Settings& settings) {
  settings.add(
      "entry NAME", entry,
      "Take this entry of the file's dict (\"student\", \"a/b\") or names behind a prefix (\"model/teacher.\", a "
      "dot at its end) instead of looking");
  settings.choice("names", names, {"plain", "file", "detectron2"},
                  "plain: the original names, prefixes of training wrappers removed and the hubs' names renamed, as "
                  "models here take them. file: as they are. "
                  "detectron2: a ResNet with torchvision's names (DINO's, MoCo-v2's) becomes a detector's backbone");
}

int convert_weights(const Run& run, const WeightsConversion& conversion, const std::string& out) {
  const std::string& input = conversion.input;
  check(fs::exists(input), ErrorKind::kUsage, "{}: no such file", input);
  Outputs outputs(run);
  for (const fs::path& part : io::find_checkpoint_files(input).parts) outputs.reads(part.string());
  const std::string file = outputs.file("out", out);
  // What is no file need not have a name that says the format.
  const bool plain_stream = is_stream_output(file) && !fs::path(file).has_extension();
  const std::string extension = plain_stream ? ".safetensors" : fs::path(file).extension().string();
  check(extension == ".safetensors" || extension == ".pth", ErrorKind::kUsage,
        "out {}: expected a name that ends in .safetensors or .pth", file);
  io::Checkpoint checkpoint =
      io::load_checkpoint(input, {.entry = conversion.entry, .map_keys = conversion.names != "file"});
  if (conversion.names == "detectron2") {
    const io::KeyMapReport report = io::resnet_to_detectron2(checkpoint.tensors, "backbone.bottom_up.");
    checkpoint.applied.insert(checkpoint.applied.end(), report.applied.begin(), report.applied.end());
    checkpoint.left_out.insert(checkpoint.left_out.end(), report.left_out.begin(), report.left_out.end());
  }
  for (const std::string& text : checkpoint.applied) run.note("{}", text);
  for (const std::string& name : checkpoint.left_out) run.detail("left out: {}", name);
  const std::string what = describe_weights(checkpoint.tensors).architecture;
  run.note("{}: {}, {} tensors{}", input, what.empty() ? "an unknown architecture" : what, checkpoint.tensors.size(),
           checkpoint.left_out.empty() ? "" : fmt::format(", {} left out", checkpoint.left_out.size()));
  if (run.dry_run) {
    run.note("would write {}", file);
    return kSuccess;
  }
  make_folder_of(file);
  if (extension == ".pth")
    io::save_pth(file, checkpoint.tensors, "model");  // the entry that Detectron2 looks for
  else
    io::save_safetensors(file, checkpoint.tensors,
                         {{"info", io::json_text(make_info(run, settings_json(conversion, "weights")))}});
  return kSuccess;
}

}  // namespace usol
