#include "usol/pipeline/reading.h"

#include <algorithm>
#include <cstddef>

namespace usol {

void say_reading(const Run& run, const std::string& file, const io::ReadingReport& report) {
  if (!run.leads()) return;
  for (const auto& [kind, text] : report.lines()) {
    if (io::effect_of(kind) == io::ReadingEffect::kFilledIn) {
      run.note("{}: {}", file, text);
    } else {
      run.warn("{}: {}", file, text);
    }
  }
}

void say_reading(const Run& run, const io::AnnotationSet& set) { say_reading(run, set.name, set.report); }

void say_left_out(const Run& run, const std::vector<std::filesystem::path>& paths) {
  if (paths.empty() || !run.leads()) return;
  run.warn("{} files were left out, because they are pipes, sockets or devices:", paths.size());
  for (const std::filesystem::path& path : paths) run.list("  " + path.string());
}

void say_reading(const Run& run, const InputList& inputs) {
  say_reading(run, inputs.annotation_file(), inputs.report());
}

void say_skipped(const Run& run, const std::vector<train::SkippedPicture>& skipped) {
  constexpr std::size_t kShown = 10;
  for (std::size_t i = 0; i < std::min(skipped.size(), kShown); ++i)
    run.warn("{}: skipped, another one takes its place", skipped[i].why);
  if (skipped.size() > kShown) run.warn("... and {} more pictures", skipped.size() - kShown);
}

}  // namespace usol
