// MaskCut's cuts at 3600 patches: the product with the bit matrix, the affinity, one eigenproblem, and affinity with
// three cuts. With USOL_CUT_CASES naming a .safetensors file of <name>.features (f32 [D, h, w]), those are timed and
// what was found is written to the file that USOL_CUT_RESULT names: bench/compare_cuts.py uses this. Otherwise the
// colour features of a bundled picture are timed.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "tests/support/golden.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/affinity.h"
#include "usol/maskcut/colour_features.h"
#include "usol/maskcut/cut.h"
#include "usol/maskcut/lanczos.h"

namespace usol {
namespace {

constexpr std::int64_t kPatch = 8;

Tensor as_columns(const Tensor& features) {
  return features.reshape({features.size(0), features.size(1) * features.size(2)});
}

void run_product(benchmark::State& state, const Tensor& features) {
  const maskcut::PatchGraph graph(maskcut::normalize_features(as_columns(features)), {});
  const std::vector<double> x = maskcut::fixed_vector(0, graph.size());
  std::vector<double> y(x.size());
  for (auto _ : state) graph.bits().multiply(x.data(), y.data(), 1, graph.size());
}

void run_affinity(benchmark::State& state, const Tensor& features) {
  for (auto _ : state)
    benchmark::DoNotOptimize(maskcut::PatchGraph(maskcut::normalize_features(as_columns(features)), {}).size());
}

void run_eigenvector(benchmark::State& state, const Tensor& features) {
  const maskcut::PatchGraph graph(maskcut::normalize_features(as_columns(features)), {});
  for (auto _ : state) benchmark::DoNotOptimize(maskcut::smallest_eigenvectors(graph, 1).found());
}

void run_cuts(benchmark::State& state, const std::string& name, const Tensor& features) {
  const Size frame{features.size(1) * kPatch, features.size(2) * kPatch};
  maskcut::CutResult result;
  for (auto _ : state) result = maskcut::cut_features(features, frame, {});
  static std::map<std::string, Tensor> found;
  for (std::size_t t = 0; t < result.stages.size(); ++t) {
    if (!result.stages[t].eigenvector.defined()) continue;
    found[name + ".x_" + std::to_string(t + 1)] = result.stages[t].eigenvector;
    found[name + ".M_" + std::to_string(t + 1)] = result.stages[t].object;
  }
  if (const char* path = std::getenv("USOL_CUT_RESULT")) io::save_safetensors(path, found);
}

template <class F, class... Args>
void add(const std::string& name, F run, Args... args) {
  benchmark::RegisterBenchmark(name.c_str(), run, args...)->UseRealTime()->Unit(benchmark::kMillisecond);
}

}  // namespace

void register_cut_benchmarks() {
  std::map<std::string, Tensor> cases;
  if (const char* path = std::getenv("USOL_CUT_CASES")) {
    cases = io::load_safetensors(path);
  } else {
    const Tensor image = io::decode_image(test::source_path("tests/pictures/raccoon.jpg"));
    cases["colour.features"] = maskcut::colour_features(image, {480, 480}, kPatch);
  }
  for (const auto& [key, features] : cases) {
    const std::string name = key.substr(0, key.rfind('.'));
    add("cuts/" + name + "/product", run_product, features);
    add("cuts/" + name + "/affinity", run_affinity, features);
    add("cuts/" + name + "/eigenvector", run_eigenvector, features);
    add("cuts/" + name + "/three_cuts", run_cuts, name, features);
  }
}

}  // namespace usol
