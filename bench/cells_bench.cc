// Pictures with hundreds of objects, as of cells: "cells/N/plain" and "cells/N/copy_paste", a training step of a tiny
// detector on a group of two pictures of 600 x 600 with N squares each, from annotations to moved weights. Counters:
// seconds for the group, and for the step with it; objects of both pictures.
#include <benchmark/benchmark.h>

#include <chrono>
#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "usol/io/rle.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/train/augment.h"
#include "usol/train/copy_paste.h"
#include "usol/train/trainer.h"

namespace usol {
namespace {

constexpr std::int64_t kSide = 600, kCell = 20;

// Squares in rows, which touch each other if there are many.
train::CompactSample cells(std::int64_t count) {
  std::int64_t columns = 1;
  while (columns * columns < count) ++columns;
  train::CompactSample sample{Tensor::full({kSide, kSide, 3}, 90, DType::kU8), {}, {}, {}};
  std::vector<float> boxes;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t x = i % columns * (kSide - kCell) / columns, y = i / columns * (kSide - kCell) / columns;
    Tensor mask = Tensor::zeros({kSide, kSide}, DType::kU8);
    mask.slice(0, y, y + kCell).slice(1, x, x + kCell).fill(1);
    sample.image.slice(0, y, y + kCell).slice(1, x, x + kCell).fill(static_cast<double>(120 + i % 100));
    sample.masks.push_back(io::rle_encode(mask));
    for (const std::int64_t side : {x, y, x + kCell, y + kCell}) boxes.push_back(static_cast<float>(side));
    sample.classes.push_back(0);
  }
  sample.boxes = Tensor::from(boxes, {count, 4});
  return sample;
}

RcnnConfig tiny_detector() {
  RcnnConfig config = cutler_config(1, 1);
  config.backbone = resnet_fpn({.blocks = {1, 1, 1, 1}, .stem_channels = 4, .res2_channels = 16, .width_per_group = 4},
                               {.channels = 16});
  config.rpn.channels = config.heads.box.channels = 16;
  config.heads.mask->channels = config.heads.mask->hidden = 16;
  config.heads.box.hidden = 32;
  config.rpn.post_nms_train = 50;
  return config;
}

void run(benchmark::State& state, std::int64_t objects, bool copy_paste) {
  const train::CompactSample sample = cells(objects);
  ParamStore store;
  const Rcnn model(Scope(store), tiny_detector());
  train::Trainer trainer(store, model, {});
  using Clock = std::chrono::steady_clock;
  double data = 0, step = 0;
  std::uint64_t number = 0;
  std::int64_t seen = 0;
  for (auto _ : state) {
    const auto begin = Clock::now();
    std::vector<Generator> generators{Generator(1, 2 * number), Generator(1, 2 * number + 1)};
    ++number;
    std::vector<train::Sample> group;
    for (Generator& generator : generators)
      group.push_back(train::augmented(sample, {.short_sides = {kSide}}, generator));
    if (copy_paste) group = train::copy_pasted(group, {}, generators);
    const auto made = Clock::now();
    trainer.step(group);
    data += std::chrono::duration<double>(made - begin).count();
    step += std::chrono::duration<double>(Clock::now() - made).count();
    for (const train::Sample& of : group) seen += of.size();
  }
  state.counters["data"] = benchmark::Counter(data, benchmark::Counter::kAvgIterations);
  state.counters["step"] = benchmark::Counter(step, benchmark::Counter::kAvgIterations);
  state.counters["objects"] = benchmark::Counter(static_cast<double>(seen), benchmark::Counter::kAvgIterations);
}

}  // namespace

void register_cells_benchmarks() {
  for (const std::int64_t objects : {20, 100, 400, 1000})
    for (const bool copy_paste : {false, true})
      benchmark::RegisterBenchmark(
          ("cells/" + std::to_string(objects) + (copy_paste ? "/copy_paste" : "/plain")).c_str(), run, objects,
          copy_paste)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
}

}  // namespace usol
