// The dense CRF on three masks, lattice construction included. With USOL_CRF_CASES naming a .safetensors file of
// <name>.image and <name>.masks, those pictures are timed and the refined masks are written to the file that
// USOL_CRF_RESULT names: bench/compare_crf.py uses this. Otherwise the small pictures of the golden cases are timed.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "tests/support/golden.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/crf.h"

namespace usol {
namespace {

std::map<std::string, Tensor>& results() {
  static std::map<std::string, Tensor> kept;
  return kept;
}

void run(benchmark::State& state, const std::string& name, const Tensor& image, const Tensor& stack) {
  std::vector<Tensor> masks, refined;
  for (std::int64_t i = 0; i < stack.size(0); ++i) masks.push_back(stack.select(0, i));
  for (auto _ : state) refined = maskcut::DenseCrf(image).refine_all(masks);
  Tensor all = Tensor::empty(stack.shape(), DType::kU8);
  for (std::int64_t i = 0; i < stack.size(0); ++i) all.select(0, i).copy_from(refined[static_cast<std::size_t>(i)]);
  results()[name + ".refined"] = all;
  if (const char* path = std::getenv("USOL_CRF_RESULT")) io::save_safetensors(path, results());
}

}  // namespace

void register_crf_benchmarks() {
  const char* path = std::getenv("USOL_CRF_CASES");
  const auto cases = io::load_safetensors(path ? path : test::golden_path("crf.safetensors"));
  for (const auto& [key, image] : cases) {
    if (!key.ends_with(".image")) continue;
    const std::string name = key.substr(0, key.size() - 6);
    benchmark::RegisterBenchmark(("crf/" + name).c_str(), run, name, image, cases.at(name + ".masks"))
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace usol
