#include "usol/pipeline/discover_train.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>
#include <vector>

#include "usol/io/checkpoint.h"
#include "usol/io/image.h"
#include "usol/io/json_text.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/baselines/found_train.h"
#include "usol/ops/random.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/progress.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"
#include "usol/train/picture_check.h"
#include "usol/train/skipped_pictures.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr std::int64_t kSide = 224;          // of the pictures the layer sees while it learns
constexpr std::int64_t kStepsPerState = 25;  // between saves
constexpr std::uint64_t kOrderStream = 1;    // random streams: of the order of pictures ...
constexpr std::uint64_t kPictureStream = 2;  // ... and of each picture's augmentation
constexpr std::uint64_t kStreamStep = 2;
constexpr std::uint64_t kOtherStream = 1ull << 63;  // of what takes the place of a picture that cannot be read
constexpr const char* kHeader = "header";           // keys of the state's metadata
constexpr const char* kSkipped = "skipped";
constexpr const char* kInfo = "info";  // of the layer's
constexpr const char* kFailed = "failed";

// Pictures in a random order, another one each time they were all used. The i-th depends on (seed, i) alone.
class Order {
 public:
  Order(std::int64_t pictures, std::uint64_t seed) : pictures_(pictures), seed_(seed) {}
  std::int64_t operator()(std::int64_t position) {
    const std::int64_t epoch = position / pictures_;
    if (epoch != epoch_) {
      Generator generator(seed_, kOrderStream + kStreamStep * static_cast<std::uint64_t>(epoch));
      order_ = random_permutation(pictures_, generator).to_vector<std::int64_t>();
      epoch_ = epoch;
    }
    return order_[static_cast<std::size_t>(position % pictures_)];
  }

 private:
  std::int64_t pictures_, epoch_ = -1;
  std::uint64_t seed_;
  std::vector<std::int64_t> order_;
};

// The batches: (seed, step) decides each of them.
class Training {
 public:
  Training(std::uint64_t seed, const FeatureSource& source, const InputList& inputs, const PictureOptions& pictures,
           std::int64_t batch)
      : source_(source),
        inputs_(inputs),
        decode_(pictures.decode()),
        batch_(batch),
        seed_(seed),
        order_(inputs.size(), seed),
        all_(static_cast<std::size_t>(inputs.size())) {
    std::iota(all_.begin(), all_.end(), 0);
  }

  std::vector<maskcut::FoundSample> batch(std::int64_t step, bool attention) {
    std::vector<std::int64_t> chosen;
    for (std::int64_t i = 0; i < batch_; ++i) chosen.push_back(order_(step * batch_ + i));
    std::vector<maskcut::FoundSample> samples(chosen.size());
    std::vector<PreparedPicture> prepared(chosen.size());
    std::vector<std::vector<train::SkippedPicture>> skipped(chosen.size());
    parallel_for_each(0, batch_, [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      const auto position = static_cast<std::uint64_t>(step * batch_ + i);
      Generator generator(seed_, kPictureStream + kStreamStep * position), other(seed_, kOtherStream | position);
      const auto [input, picture] =
          train::load_or_another(chosen[at], all_, other, skipped[at], [this](std::int64_t index) {
            InputImage readable = inputs_[index];
            Tensor decoded = train::decode_picture(readable.path, decode_);
            return std::pair(std::move(readable), std::move(decoded));
          });
      samples[at].image = maskcut::found_augment(picture, kSide, generator);
      prepared[at] = source_.prepare(input, samples[at].image);
    });
    for (const auto& met : skipped) skipped_.insert(skipped_.end(), met.begin(), met.end());
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const PatchMaps maps = source_.maps(prepared[i]);
      samples[i].keys = maps.features.to(Device::cpu());
      if (attention) samples[i].attention = maps.attention.to(Device::cpu());
    }
    return samples;
  }
  /// The pictures that could not be read since it was asked last; those of a number may come several times.
  std::vector<train::SkippedPicture> take_skipped() { return std::exchange(skipped_, {}); }

 private:
  const FeatureSource& source_;
  const InputList& inputs_;
  io::DecodeOptions decode_;
  std::int64_t batch_;
  std::uint64_t seed_;
  Order order_;
  std::vector<std::int64_t> all_;
  std::vector<train::SkippedPicture> skipped_;
};

void save_state(const fs::path& path, const maskcut::FoundTrainer& trainer, const Json& header,
                const train::SkippedPictures& skipped) {
  io::save_safetensors(path, trainer.state(), {{kHeader, io::json_text(header)}, {kSkipped, skipped.state()}});
}

// Those whose headers cannot be read.
std::vector<train::SkippedPicture> unreadable_headers(const Run& run, const InputList& inputs,
                                                      const io::DecodeOptions& decode) {
  const auto picture = [&](std::int64_t i) -> train::ExpectedPicture { return {inputs[i].path, {}}; };
  const auto stop = [&] { return run.stop_asked() != 0; };
  const train::PictureReport report = train::check_pictures(inputs.size(), picture, decode, stop);
  run.throw_if_stopped();
  return report.unreadable;
}

std::string why_unreadable(const fs::path& path, const io::DecodeOptions& decode) {
  try {
    train::decode_picture(path, decode);
  } catch (const train::UnreadablePicture& error) {
    return error.what();
  }
  return {};
}

// 3 if the layer at `path` says that pictures were skipped.
int status_of(const fs::path& path) {
  if (path.extension() != ".safetensors") return kSuccess;
  const Json info = Json::parse(io::read_safetensors(path).metadata[kInfo], nullptr, false);
  return info.is_object() && info.contains(kFailed) ? kSomeInputsFailed : kSuccess;
}

}  // namespace

void HeadTraining::declare(Settings& settings) {
  settings.group("Training FOUND's layer");
  settings.add("train-head FILE", out_,
               "Instead of finding objects, train the layer on these pictures and write it (.safetensors or .pth); "
               "the seed decides its start, the order of pictures and their augmentation",
               OptionKind::kRun);
  settings.add("iterations N", iterations_, "Steps of the training").at_least(1);
  settings.add("batch N", batch_, "Pictures per step").at_least(1);
  settings
      .add("most-skipped SHARE", most_skipped_,
           "Share of the pictures that may be missing or damaged: others take their places; more of them end the "
           "training",
           OptionKind::kRun)
      .between(0, 1);
}

int HeadTraining::run(const Run& run, FeatureOptions source_options, const InputOptions& input_options,
                      const PictureOptions& pictures) {
  const fs::path state_path = out_ + ".state";
  const std::string extension = fs::path(out_).extension().string();
  check(extension == ".safetensors" || extension == ".pth", ErrorKind::kUsage,
        "train-head {}: expected a name that ends in .safetensors or .pth", out_);
  check(source_options.from_features.empty(), ErrorKind::kUsage,
        "train-head makes features of pieces of the pictures itself: give weights, not from-features");
  check(source_options.size == 0, ErrorKind::kUsage, "train-head learns from {} x {} pixels; leave out size", kSide,
        kSide);
  check(!is_stream_output(out_), ErrorKind::kUsage,
        "train-head {} is no regular file: the training keeps its state beside it", out_);
  if (fs::exists(out_) && run.continues()) {
    run.note("{} is there already", out_);
    return status_of(out_);
  }
  const InputList inputs = input_options.collect();
  say_reading(run, inputs);
  Outputs outputs(run);
  outputs.reads(inputs);
  outputs.reads(input_options.inputs);
  outputs.reads(source_options.weights);
  outputs.file("train-head", out_);
  outputs.file("train-head", state_path.string());
  source_options.size = kSide;
  source_options.framing = Framing::kFrame;
  source_options.native_aspect = false;
  source_options.attention = true;
  const auto source = source_options.open(run);
  SettingsTable own("discover");
  declare(own);
  Json header = make_info(run, own.settings_text(), source_options.weights_sha256());
  source->describe(header);
  header["inputs"] = {{"images", inputs.size()}, {"sha256", inputs.digest()}};

  const io::DecodeOptions decode = pictures.decode();
  train::SkippedPictures skipped(
      inputs.size(), [&](std::int64_t index) { return why_unreadable(inputs[index].path, decode); }, most_skipped_);
  const auto skip = [&](const std::vector<train::SkippedPicture>& met) {
    try {
      say_skipped(run, skipped.add(met));
    } catch (const train::TooManySkipped& error) {
      fail(error.kind(), fmt::format("{} (most-skipped allows more)", error.what()));
    }
  };
  skip(unreadable_headers(run, inputs, decode));

  const auto seed = static_cast<std::uint64_t>(run.seed);
  Training training(seed, *source, inputs, pictures, batch_);
  const maskcut::FoundTrainOptions settings;
  const auto wants_attention = [&](std::int64_t step) { return step < settings.background_steps; };
  if (run.dry_run) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    Training one(seed, *source, inputs, pictures, 1);
    one.batch(0, true);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    run.note("would train on {} pictures, {} steps of {}, and write {}", inputs.size(), iterations_, batch_, out_);
    run.note("time: about {}, as measured now on this machine",
             format_duration(seconds * static_cast<double>(iterations_ * batch_)));
    return kSuccess;
  }
  if (fs::path(out_).has_parent_path()) fs::create_directories(fs::path(out_).parent_path());
  const std::int64_t width = Training(seed, *source, inputs, pictures, 1).batch(0, false)[0].keys.size(0);
  maskcut::FoundTrainer trainer(width, seed, settings);
  if (run.continues() && fs::exists(state_path)) {
    io::SafetensorsContent saved = io::read_safetensors(state_path);
    trainer.load_state(saved.tensors);
    const Json was = Json::parse(saved.metadata[kHeader], nullptr, false);
    const std::string differences = describe_differences(was, header);
    check(differences.empty(), ErrorKind::kUsage, "{} was made with other settings: {}", state_path.string(),
          differences);
    if (const std::string& state = saved.metadata[kSkipped]; !state.empty()) skipped.load_state(state);
    run.note("going on after {} steps", trainer.steps());
  }
  Progress progress(run, iterations_, "steps", trainer.steps());
  while (trainer.steps() < iterations_) {
    const std::int64_t step = trainer.steps();
    const std::vector<maskcut::FoundSample> batch = training.batch(step, wants_attention(step));
    skip(training.take_skipped());
    const maskcut::FoundLosses losses = trainer.step(batch);
    progress.step();
    run.detail("step {}: loss {:.4f} ({:.4f} refined, {:.4f} {})", step, losses.total, losses.refined, losses.other,
               wants_attention(step) ? "background" : "own");
    if (const int stop = run.stop_asked(); stop != 0 && trainer.steps() < iterations_) {
      save_state(state_path, trainer, header, skipped);
      run.note("stopped after {} steps", trainer.steps());
      return 128 + stop;
    }
    if (trainer.steps() % kStepsPerState == 0) save_state(state_path, trainer, header, skipped);
  }
  progress.finish();
  for (const std::int64_t index : skipped.indices()) header[kFailed].push_back(inputs.file_name(index));
  const maskcut::FoundHead head = trainer.head();
  io::save_checkpoint(out_,
                      {{"weight", head.weight.reshape({1, head.weight.numel(), 1, 1})},
                       {"bias", Tensor::full({1}, static_cast<double>(head.bias))}},
                      extension == ".pth" ? std::map<std::string, std::string>{}
                                          : std::map<std::string, std::string>{{kInfo, io::json_text(header)}});
  fs::remove(state_path);
  run.note("wrote {}: the found-weights of method found", out_);
  if (skipped.size() == 0) return kSuccess;
  run.warn("{} of {} pictures could not be read, others took their places", skipped.size(), inputs.size());
  return kSomeInputsFailed;
}

}  // namespace usol
