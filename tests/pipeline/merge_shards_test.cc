// Shards joined from C++: the bytes of one run, and what is no run.
#include "usol/pipeline/merge_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/coco.h"
#include "usol/pipeline/image_job.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

using testing::HasSubstr;

class MergeShardsTest : public testing::Test {
 protected:
  MergeShardsTest() {
    for (int i = 0; i < 7; ++i) test::write_text(folder_ / ("in/" + std::to_string(i) + ".jpg"), "x");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  // A job whose picture i has i % 3 annotations; picture 5 fails.
  std::string make(const std::string& name, Shard shard, double tau = 0.15) {
    ImageJob job;
    InputOptions inputs;
    inputs.inputs = {at("in")};
    job.inputs = inputs.collect();
    job.output = at(name);
    job.info = {{"description", "usol test"}, {"version", "1"}, {"tau", tau}};
    job.categories = {{1, "fg", "fg"}};
    job.shard = shard;
    job.load = [](const InputImage& input) -> ImageCompute {
      const int number = std::stoi(input.file_name);
      return [input, number] {
        if (number == 5) throw Error(ErrorKind::kFormat, "odd");
        ImageResult result;
        result.record.image = io::coco_image_json({input.id, 10, 20, input.file_name});
        for (int k = 0; k < number % 3; ++k) {
          io::CocoAnnotation annotation;
          annotation.id = k + 1;
          annotation.image_id = input.id;
          annotation.category_id = 1;
          result.record.annotations.push_back(io::coco_annotation_json(annotation, io::Rle{10, 20, {200}}));
        }
        return result;
      };
    };
    run_image_job({}, job);
    return at(name);
  }
  std::string refusal(const std::vector<std::string>& shards) {
    try {
      merge_shards({}, shards, at("x.json"));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_FALSE(std::filesystem::exists(folder_ / "x.json"));
      return error.what();
    }
    return "none";
  }

  test::TempDir folder_;
};

TEST_F(MergeShardsTest, GiveTheBytesOfOneRun) {
  const std::string whole = make("whole.json", {});
  std::vector<std::string> parts;
  for (const int k : {3, 1, 2}) parts.push_back(make("part" + std::to_string(k) + ".json", {k, 3}));
  test::LoggedRun logged;
  ASSERT_EQ(merge_shards(logged.run, parts, at("deep/merged.json")), kSuccess);
  EXPECT_EQ(test::read_text(folder_ / "deep/merged.json"), test::read_text(whole));
  EXPECT_THAT(logged.log->text(), HasSubstr("6 images, 4 annotations, from 3 shards"));
  EXPECT_THAT(logged.log->text(), HasSubstr("1 images had failed"));
}

TEST_F(MergeShardsTest, OtherSetsOfFilesAreRefused) {
  const std::string first = make("1.json", {1, 2}), second = make("2.json", {2, 2}), whole = make("w.json", {});
  EXPECT_THAT(refusal({}), HasSubstr("no shards"));
  EXPECT_THAT(refusal({first}), HasSubstr("missing: 2/2"));
  EXPECT_THAT(refusal({first, first}), HasSubstr("a second time"));
  EXPECT_THAT(refusal({first, whole}), HasSubstr("w.json: is no shard"));
  EXPECT_THAT(refusal({first, at("none.json")}), HasSubstr("no such file"));
  EXPECT_THAT(refusal({first, make("3.json", {2, 2}, 0.4)}), HasSubstr("tau: was 0.15, is 0.4"));
  EXPECT_THROW(merge_shards({.existing = Existing::kReplace}, {first, second}, first), Error);
}

}  // namespace
}  // namespace usol
