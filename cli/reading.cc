#include "usol/cli/reading.h"

namespace usol {

void say_reading(const Common& common, const std::string& file, const ReadingReport& report) {
  if (!common.leads()) return;
  for (const auto& [kind, text] : report.lines()) {
    if (effect_of(kind) == ReadingEffect::kFilledIn) {
      common.note("{}: {}", file, text);
    } else {
      common.warn("{}: {}", file, text);
    }
  }
}

void say_reading(const Common& common, const AnnotationSet& set) { say_reading(common, set.name, set.report); }

void say_reading(const Common& common, const InputList& inputs) {
  say_reading(common, inputs.annotation_file(), inputs.report());
}

}  // namespace usol
