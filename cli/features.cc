// usol features: the patch features of pictures, one file each, for `usol maskcut --from-features`, other programs, or
// a cluster that separates the two steps.
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "usol/cli/verb.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

class FeaturesVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Writes <relative path without extension>.safetensors for each picture, with one tensor `features` [D, h, w], "
        "and DIR/features.json, which lists the pictures and how the features were made. With --shard K/N the list is "
        "DIR/features.KofN.json; `usol merge` makes one of all.");
    inputs_.declare(options);
    options.group("Output");
    options.add("--out DIR", out_, "Folder for the files", OptionKind::kRun);
    options.choice("--feature-dtype", dtype_, {"f32", "f16"}, "Number format of the files");
    source_.declare(options, false);
    options.flag("--attention", source_.attention,
                 "Also `attention` [heads, h, w], of the class token, which some methods of `usol discover` need");
    options.flag("--padded", padded_,
                 "Pictures keep their size and are zero-padded to whole patches, as `usol discover` has it, instead of "
                 "being resized to --size");
    pictures_.declare(options);
    options.group("Running");
    shard_.declare(options);
    options.example("usol features images --weights dino_vitbase8_pretrain.pth --out features",
                    "DINO's keys of every picture under images/");
    options.example("usol maskcut images --from-features features --out masks.json", "and masks from them");
  }

  int run(const Run& run, const Options&) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out DIR is missing");
    const auto report = pictures_.report_at_end(run);
    ImageJob job;
    job.inputs = inputs_.collect();
    say_reading(run, job.inputs);
    check_output_paths(job.inputs);
    if (padded_) source_.framing = Framing::kPadded;
    const auto source = source_.open(run);
    job.shard = Shard::parse(shard_.text);
    const std::string list =
        job.shard.count == 1 ? "features.json" : fmt::format("features.{}of{}.json", job.shard.index, job.shard.count);
    job.output = (fs::path(out_) / list).string();
    job.reads = inputs_.inputs;
    job.reads.push_back(source_.weights);
    const auto files = job.add_folder(run, "--out", out_, ".safetensors");
    job.info = make_info(run, "{}", source_.weights_sha256());
    source->describe(job.info);
    const std::string provenance = job.info.dump();
    const DType dtype = dtype_ == "f16" ? DType::kF16 : DType::kF32;
    job.load = [&, files](const InputImage& input) -> ImageCompute {
      const Tensor image = io::decode_image(input.path, pictures_.decode());
      PreparedPicture prepared = source->prepare(input, image);
      io::CocoImage record{input.id, image.size(0), image.size(1), input.file_name};
      return [&, files, record = std::move(record), prepared = std::move(prepared)] {
        const PatchMaps maps = source->maps(prepared);
        std::map<std::string, Tensor> tensors = {{"features", maps.features.to(dtype).to(Device::cpu())}};
        if (maps.attention.defined()) tensors["attention"] = maps.attention.to(dtype).to(Device::cpu());
        ImageResult result;
        result.record.image = io::coco_image_json(record);
        for (const auto& [key, tensor] : tensors)
          result.saved_bytes += static_cast<std::uint64_t>(tensor.numel()) * size_of(dtype);
        result.save = [&, files, tensors, name = record.file_name] {
          files->write(output_path({}, name, ".safetensors").generic_string(), [&](const fs::path& path) {
            io::save_safetensors(path, tensors, {{"info", provenance}});
          });
        };
        return result;
      };
    };
    return run_image_job(run, job);
  }
  bool shares_work() const override { return true; }

 private:
  InputOptions inputs_;
  PictureOptions pictures_;
  FeatureOptions source_;
  ShardOption shard_;
  std::string out_, dtype_ = "f32";
  bool padded_ = false;
};

const RegisterVerb<FeaturesVerb> kFeatures("features", "patch features of pictures, one file each");

}  // namespace
}  // namespace usol::cli
