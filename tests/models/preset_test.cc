// Presets by the names that they have on the command line and in settings files.
#include "usol/models/preset.h"

#include <gtest/gtest.h>

#include "usol/tensor/error.h"

namespace usol {
namespace {

TEST(Preset, ByItsName) {
  EXPECT_EQ(parse_preset("paper"), Preset::kPaper);
  EXPECT_EQ(parse_preset("release"), Preset::kRelease);
  for (const char* name : {"", "Paper", "code"}) EXPECT_THROW(parse_preset(name), Error);
}

}  // namespace
}  // namespace usol
