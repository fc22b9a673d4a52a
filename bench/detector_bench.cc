// The whole detector at full size: "detector/infer" (a picture to boxes and masks) and "detector/train" (a step on two
// pictures: losses, gradients, SGD, with the seconds of each as counters; "detector/train_bf16": products and maps in
// bf16). Runs only where USOL_DETECTOR_CASE names a
// .safetensors file of Detectron2's parameters (for trainings also of none: random ones) and "case.pictures" u8 [2, H,
// W, 3], "case.boxes" f32 [G, 4], "case.masks" u8 [G, H, W], the truths of either. "detector/data": groups of two
// pictures as training sees them, made by one thread, where USOL_LOADER_CASE is "ANNOTATIONS:FOLDER". For
// bench/compare_detector.py.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "bench/given_case.h"
#include "usol/io/safetensors.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/train/loader.h"
#include "usol/train/trainer.h"

namespace usol {
namespace {

// Takes the tensors that are no parameters out of `tensors`.
std::vector<train::Sample> take_batch(StateDict& tensors) {
  const Tensor pictures = tensors.at("case.pictures"), boxes = tensors.at("case.boxes"),
               masks = tensors.at("case.masks");
  for (const char* name : {"case.pictures", "case.boxes", "case.masks"}) tensors.erase(name);
  std::vector<train::Sample> batch;
  for (std::int64_t i = 0; i < pictures.size(0); ++i)
    batch.push_back(
        {pictures.select(0, i), masks, boxes, std::vector<std::int64_t>(static_cast<std::size_t>(boxes.size(0)))});
  return batch;
}

void infer(benchmark::State& state, const std::string& path) {
  StateDict tensors = io::load_safetensors(path);
  const Tensor picture = take_batch(tensors)[0].image;
  const Rcnn model = Rcnn::from_state(std::move(tensors), path);
  model.detect({picture});  // folds and packs
  std::int64_t objects = 0;
  for (auto _ : state) objects = model.detect({picture})[0].size();
  state.counters["objects"] = static_cast<double>(objects);
}

void time_step(benchmark::State& state, const std::string& path, DType precision) {
  StateDict tensors = io::load_safetensors(path);
  const std::vector<train::Sample> batch = take_batch(tensors);
  ParamStore store;
  const Rcnn model(Scope(store), cutler_config());
  if (!tensors.empty()) store.load(tensors).require_ok(path);
  train::TrainerOptions options;
  options.precision = precision;
  options.schedule.learning_rate = 1e-5;
  train::Trainer trainer(store, model, options);
  trainer.step(batch);  // memory is fetched from the system
  train::StepReport report;
  for (auto _ : state) report = trainer.step(batch);
  state.counters["forward"] = report.seconds.forward;
  state.counters["backward"] = report.seconds.backward;
  state.counters["optimizer"] = report.seconds.optimizer;
}

void train_step(benchmark::State& state, const std::string& path) { time_step(state, path, DType::kF32); }
void train_step_bf16(benchmark::State& state, const std::string& path) { time_step(state, path, DType::kBF16); }

void data(benchmark::State& state, const std::string& files) {
  const auto colon = files.find(':');
  const train::Dataset dataset(files.substr(0, colon), files.substr(colon + 1));
  train::LoaderOptions options{.batch = 2, .threads = 1, .ahead = 1};
  train::Loader loader(dataset, options);
  for (int i = 0; i <= options.ahead; ++i) loader.next();  // what was made before the clock starts
  for (auto _ : state) loader.next();
}

}  // namespace

void register_detector_benchmarks() {
  register_given_case(
      "USOL_DETECTOR_CASE",
      {{"detector/infer", infer}, {"detector/train", train_step}, {"detector/train_bf16", train_step_bf16}});
  register_given_case("USOL_LOADER_CASE", {{"detector/data", data}});
}

}  // namespace usol
