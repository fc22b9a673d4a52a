// Weights between file formats, from C++.
#include "usol/pipeline/convert_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/checkpoint.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

using testing::HasSubstr;

class ConvertWeightsTest : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  test::TempDir folder_;
};

TEST_F(ConvertWeightsTest, ThereAndBack) {
  const std::map<std::string, Tensor> tensors = {{"module.a", Tensor::from<float>({1, 2}, {2})},
                                                 {"other.a", Tensor::from<float>({7}, {1})}};
  io::save_safetensors(folder_ / "w.safetensors", tensors);
  ASSERT_EQ(convert_weights({}, {.input = at("w.safetensors"), .names = "file"}, at("deep/w.pth")), kSuccess);
  EXPECT_EQ(io::load_checkpoint(folder_ / "deep/w.pth", {.entry = "", .map_keys = false}).entry, "model");
  test::LoggedRun logged;
  ASSERT_EQ(convert_weights(logged.run, {.input = at("deep/w.pth"), .entry = "model/other."}, at("other.safetensors")),
            kSuccess);
  const auto back = io::load_safetensors(folder_ / "other.safetensors");
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back.at("a").to_vector<float>(), (std::vector<float>{7}));
  EXPECT_THAT(logged.log->text(), HasSubstr("an unknown architecture, 1 tensors"));
  const auto info = nlohmann::json::parse(io::load_checkpoint(folder_ / "other.safetensors").metadata.at("info"));
  EXPECT_EQ(info["settings"]["entry"], "model/other.");
}

// RLIMIT_FSIZE stands for the disk, as in the tests of the verbs.
TEST_F(ConvertWeightsTest, AFullDiskIsSaidOfTheOutput) {
  io::save_safetensors(folder_ / "w.safetensors", {{"a", Tensor::zeros({100000})}});
  test::ProcessOptions small_disk;
  small_disk.file_size_limit = 4096;
  for (const char* name : {"out.pth", "out.safetensors"}) {
    const auto full = test::run_usol({"weights", at("w.safetensors"), "--out", at(name)}, small_disk);
    EXPECT_EQ(full.status, 1);
    EXPECT_THAT(full.err, HasSubstr(at(name) + ": cannot write: File too large")) << full.err;
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1) << name;
  }
}

TEST_F(ConvertWeightsTest, TypesThatBecomeWiderAreSaid) {
  std::string file = R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I16","shape":[1],)"
                     R"("data_offsets":[2,4]},"c":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}})";
  std::string length(8, '\0');
  length[0] = static_cast<char>(file.size());
  test::write_text(folder_ / "w.safetensors", length + file + std::string("\x01\xff\x02\x00\x03", 5));
  for (const char* names : {"file", "plain"}) {
    test::LoggedRun logged;
    const std::string out = std::string(names) + ".safetensors";
    ASSERT_EQ(convert_weights(logged.run, {.input = at("w.safetensors"), .names = names}, at(out)), kSuccess);
    EXPECT_THAT(logged.log->text(), HasSubstr("tensors of i8 are read as i32"));
    EXPECT_THAT(logged.log->text(), HasSubstr("tensors of i16 are read as i32"));
    EXPECT_THAT(logged.log->text(), testing::Not(HasSubstr("tensors of u8")));
    EXPECT_EQ(io::load_safetensors(at(out)).at("a").to_vector<std::int32_t>(), (std::vector<std::int32_t>{1, -1}));
  }
}

TEST_F(ConvertWeightsTest, BadUsage) {
  io::save_safetensors(folder_ / "w.safetensors", {{"a", Tensor::zeros({1})}});
  const WeightsConversion conversion{.input = at("w.safetensors")};
  EXPECT_THROW(convert_weights({}, conversion, at("w.pkl")), Error);
  EXPECT_THROW(convert_weights({}, {.input = at("none.pth")}, at("a.pth")), Error);
  EXPECT_THROW(convert_weights({.existing = Existing::kReplace}, conversion, at("w.safetensors")), Error);
  ASSERT_EQ(convert_weights({.dry_run = true}, conversion, at("a.pth")), kSuccess);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a.pth"));
}

}  // namespace
}  // namespace usol
