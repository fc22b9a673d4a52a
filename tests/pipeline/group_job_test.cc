// Objects to groups and groups to categories, on made-up features whose kinds are known.
#include "usol/pipeline/group_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/eval/clusters.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/safetensors.h"
#include "usol/pipeline/evaluate.h"
#include "usol/pipeline/name_groups.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"
#include "usol/train/dataset.h"

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace usol {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kSide = 32, kGrid = 4;  // pixels and patches of a picture's side

// Each picture has an object in two of its corners, eight pixels (one patch) wide and sixteen high.
struct Placed {
  int kind;
  std::int64_t top, left;
};
const std::vector<std::vector<Placed>> kPictures = {{{0, 0, 0}, {1, 16, 24}}, {{0, 0, 24}, {0, 16, 0}},
                                                    {{1, 0, 0}, {2, 16, 24}}, {{0, 0, 24}, {1, 16, 0}},
                                                    {{2, 0, 0}, {0, 16, 24}}, {}};

class GroupJobTest : public testing::Test {
 protected:
  GroupJobTest() {
    for (const char* name : {"photos", "features"}) fs::create_directories(folder_ / name);
    Generator generator(3);
    io::CocoWriter writer(folder_ / "objects.json");
    std::int64_t id = 0;
    for (std::size_t p = 0; p < kPictures.size(); ++p) {
      const std::string name = "p" + std::to_string(p) + ".png";
      const auto image_id = static_cast<std::int64_t>(10 * p + 7);
      io::write_png(folder_ / "photos" / name, Tensor::full({kSide, kSide, 3}, 90, DType::kU8));
      writer.add_image({image_id, kSide, kSide, name});
      // Background along axis 3 that an object's vector must not hold anything of.
      Tensor features = Tensor::zeros({5, kGrid, kGrid});
      float* f = features.mutable_data<float>();
      for (std::int64_t i = 0; i < 5 * kGrid * kGrid; ++i) f[i] = 0.02f * generator.normal();
      for (std::int64_t i = 0; i < kGrid * kGrid; ++i) f[3 * kGrid * kGrid + i] += 2;
      for (const Placed& object : kPictures[p]) {
        Tensor mask = Tensor::zeros({kSide, kSide}, DType::kU8);
        mask.slice(0, object.top, object.top + 16).slice(1, object.left, object.left + 8).fill(1);
        for (std::int64_t row = object.top / 8; row < object.top / 8 + 2; ++row) {
          const std::int64_t patch = row * kGrid + object.left / 8;
          f[3 * kGrid * kGrid + patch] -= 2;
          f[object.kind * kGrid * kGrid + patch] += 1;
        }
        io::CocoAnnotation annotation;
        annotation.id = ++id;
        annotation.image_id = image_id;
        annotation.category_id = 1;
        annotation.box = {static_cast<double>(object.left), static_cast<double>(object.top), 8, 16};
        annotation.area = 128;
        annotation.score = 0.5 + 0.01 * static_cast<double>(id);
        annotation.has_score = true;
        writer.add_annotation(annotation, io::rle_encode(mask));
        kinds_.push_back(object.kind);
      }
      io::save_npy(folder_ / "features" / ("p" + std::to_string(p) + ".npy"), features);
    }
    writer.finish(std::vector<io::CocoCategory>{{1, "fg", "fg"}});
    job_.objects = at("objects.json");
    job_.image_root = at("photos");
    job_.features.from_features = at("features");
    job_.groups.groups = 3;
    logged_.run.verbosity = Verbosity::kDetailed;
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  Json read(const std::string& name) const { return Json::parse(test::read_text(folder_ / name)); }
  // Groups of the objects, in their order.
  static std::vector<int> groups_of(const Json& file) {
    std::vector<int> groups;
    for (const Json& object : file["annotations"]) groups.push_back(object["group"].get<int>());
    return groups;
  }
  // Which kind each group is, for kinds 0, 1 and 2 of five, three and two objects: the largest comes first.
  std::vector<int> expected() const {
    std::vector<int> groups;
    for (const int kind : kinds_) groups.push_back(kind + 1);
    return groups;
  }

  test::TempDir folder_;
  test::LoggedRun logged_;
  GroupJob job_;
  std::vector<int> kinds_;
};

TEST_F(GroupJobTest, ObjectsOfAKindAreAGroup) {
  ASSERT_EQ(job_.run(logged_.run, {at("groups.json")}), kSuccess);
  const Json file = read("groups.json");
  EXPECT_EQ(groups_of(file), expected());
  ASSERT_EQ(file["images"].size(), kPictures.size());
  ASSERT_EQ(file["categories"].size(), 4u);
  EXPECT_EQ(file["categories"][0]["name"], "group 1");
  EXPECT_EQ(file["categories"][3]["name"], "other");
  for (const Json& object : file["annotations"]) {
    EXPECT_EQ(object["category_id"], object["group"]);
    EXPECT_GT(object["similarity"].get<double>(), 0.98);
    EXPECT_GT(object["margin"].get<double>(), 0.9);
    EXPECT_TRUE(object.contains("segmentation") && object.contains("bbox") && object.contains("score"));
  }
  EXPECT_EQ(file["annotations"][3]["score"], 0.54);
  EXPECT_EQ(file["info"]["groups"], 3);
  EXPECT_EQ(file["info"]["settings"]["method"], "kmeans");
  // The description is of the mask alone: nothing of the background along axis 3.
  const auto tensors = io::load_safetensors(folder_ / "groups.json.vectors/p0.safetensors");
  EXPECT_EQ(tensors.at("records").to_vector<std::int64_t>(), (std::vector<std::int64_t>{0, 1}));
  const auto v = tensors.at("vectors").to_vector<float>();
  ASSERT_EQ(v.size(), 10u);
  EXPECT_NEAR(v[0], 1, 0.01);
  EXPECT_NEAR(v[3], 0, 0.1);
  EXPECT_NEAR(v[6], 1, 0.01);
  EXPECT_FALSE(fs::exists(folder_ / "groups.json.vectors/p5.safetensors"));  // no object
}

TEST_F(GroupJobTest, AnotherGroupingTakesTheDescriptionsAsTheyAre) {
  ASSERT_EQ(job_.run(logged_.run, {at("a.json"), at("vectors")}), kSuccess);
  fs::remove_all(folder_ / "features");  // they would be needed to describe anything
  fs::create_directories(folder_ / "features");
  job_.groups.groups = 0;
  ASSERT_EQ(job_.run(logged_.run, {at("b.json"), at("vectors")}), kSuccess);
  EXPECT_EQ(groups_of(read("b.json")), expected());  // three have the largest silhouette
  EXPECT_TRUE(read("b.json")["info"].contains("silhouettes"));
  job_.method = "agglomerate";
  usol::Run again = logged_.run;
  again.existing = Existing::kReplace;
  ASSERT_EQ(job_.run(again, {at("b.json"), at("vectors")}), kSuccess);
  EXPECT_EQ(groups_of(read("b.json")), expected());
  EXPECT_THROW(job_.run(logged_.run, {at("b.json"), at("vectors")}), Error);  // b.json is there
  // Descriptions of other settings are not mixed with these.
  job_.features.patch = 16;
  EXPECT_THROW(job_.run(logged_.run, {at("c.json"), at("vectors")}), Error);
}

TEST_F(GroupJobTest, DescriptionsThatAreGoneOrOthersAreNoticed) {
  ASSERT_EQ(job_.run(logged_.run, {at("a.json"), at("vectors")}), kSuccess);
  const auto message = [&] {
    try {
      job_.run(logged_.run, {at("b.json"), at("vectors")});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  fs::copy_file(folder_ / "vectors/p0.safetensors", folder_ / "vectors/p1.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_THAT(message(), HasSubstr("p1.safetensors describes other objects than those of p1.png"));
  fs::remove(folder_ / "vectors/p1.safetensors");
  EXPECT_THAT(message(), HasSubstr("p1.safetensors is missing"));
  EXPECT_FALSE(fs::exists(folder_ / "b.json"));
}

TEST_F(GroupJobTest, AnObjectWithoutAPixelIsInNoGroup) {
  Json set = read("objects.json");
  Json& object = set["annotations"][2];
  object["segmentation"] = {{"size", {kSide, kSide}}, {"counts", {kSide * kSide}}};
  object["bbox"] = {0, 0, 0, 0};
  object["area"] = 0;
  test::write_text(folder_ / "objects.json", set.dump());
  ASSERT_EQ(job_.run(logged_.run, {at("a.json")}), kSuccess);
  const std::vector<int> groups = groups_of(read("a.json"));
  ASSERT_EQ(groups.size(), kinds_.size());
  EXPECT_EQ(groups[2], 0);
  EXPECT_EQ(std::count(groups.begin(), groups.end(), 0), 1);
}

TEST_F(GroupJobTest, SaysWhyObjectsAreInNoGroup) {
  usol::Run run = logged_.run;
  run.existing = Existing::kReplace;
  const auto said = [&](const GroupJob& job) {
    const auto log = std::make_shared<test::KeptLog>();
    run.log = log;
    EXPECT_EQ(job.run(run, {at("a.json"), at("vectors")}), kSuccess);
    return log->text();
  };
  EXPECT_THAT(said(job_), AllOf(HasSubstr("10 objects in 3 groups, and 0 in none"), Not(HasSubstr("in none: "))));
  GroupJob many = job_;
  many.groups.groups = 20;
  EXPECT_THAT(said(many), AllOf(HasSubstr("10 objects in 10 groups, and 0 in none"),
                                HasSubstr("groups 20: there are 10 objects, and no more groups than these"),
                                Not(HasSubstr("warning"))));
  many.groups.least_size = 2;
  EXPECT_THAT(said(many), HasSubstr("warning: 10 of 10 objects are in no group, 10 of them in groups of fewer than "
                                    "least-size 2: try fewer groups, or least-size 1"));
  GroupJob strict = job_;
  strict.groups.least_similarity = 1;
  EXPECT_THAT(said(strict), HasSubstr("by least-similarity 1: try a smaller one"));
  strict.groups.least_similarity = -1;
  strict.groups.least_margin = 2;
  EXPECT_THAT(said(strict), HasSubstr("10 by least-margin 2"));
  GroupJob alone = job_;
  alone.method = "agglomerate";
  alone.groups.threshold = 0;
  EXPECT_THAT(said(alone), HasSubstr("10 of them in groups of fewer than least-size 2: try a larger threshold, or"));
}

TEST_F(GroupJobTest, EqualRunsGiveEqualBytes) {
  ASSERT_EQ(job_.run(logged_.run, {at("a.json")}), kSuccess);
  ASSERT_EQ(job_.run(logged_.run, {at("b.json")}), kSuccess);
  EXPECT_EQ(test::read_text(folder_ / "a.json"), test::read_text(folder_ / "b.json"));
}

TEST_F(GroupJobTest, ResultsAndBoxesWithoutMasks) {
  const Json objects = read("objects.json");
  Json results = Json::array();
  for (const Json& object : objects["annotations"])
    results.push_back(
        {{"image_id", object["image_id"]}, {"category_id", 1}, {"bbox", object["bbox"]}, {"score", object["score"]}});
  test::write_text(folder_ / "results.json", results.dump());
  job_.objects = at("results.json");
  EXPECT_THROW(job_.run(logged_.run, {at("groups.json")}), Error);  // which pictures?
  job_.image_list = at("objects.json");
  ASSERT_EQ(job_.run(logged_.run, {at("groups.json")}), kSuccess);
  EXPECT_EQ(groups_of(read("groups.json")), expected());
  EXPECT_EQ(read("groups.json")["images"].size(), kPictures.size());
  EXPECT_FALSE(read("groups.json")["annotations"][0].contains("segmentation"));
}

TEST_F(GroupJobTest, PicturesThatFailAreCounted) {
  fs::remove(folder_ / "photos/p2.png");
  fs::create_directories(folder_ / "photos");
  test::write_text(folder_ / "photos/p2.png", "no picture");
  ASSERT_EQ(job_.run(logged_.run, {at("groups.json")}), kSomeInputsFailed);
  EXPECT_EQ(read("groups.json")["annotations"].size(), kinds_.size() - 2);
}

TEST_F(GroupJobTest, SaysWhatIsMissing) {
  job_.describe = "crop";
  EXPECT_THROW(job_.run(logged_.run, {at("groups.json")}), Error);  // files have no class token
  job_.describe = "mask";
  job_.objects = at("none.json");
  EXPECT_THROW(job_.run(logged_.run, {at("groups.json")}), Error);
  EXPECT_FALSE(fs::exists(folder_ / "groups.json"));
}

TEST_F(GroupJobTest, NamesMakeCategories) {
  ASSERT_EQ(job_.run(logged_.run, {at("groups.json")}), kSuccess);
  test::write_text(folder_ / "names.txt", "# by hand\n\n2, dog\n1 ,  guinea pig, brown \n3,dog\nother, -\n");
  ASSERT_EQ(name_groups(logged_.run, {at("groups.json"), at("names.txt")}, at("named.json")), kSuccess);
  const Json named = read("named.json");
  ASSERT_EQ(named["categories"].size(), 2u);
  EXPECT_EQ(named["categories"][0]["name"], "dog");
  EXPECT_EQ(named["categories"][1]["name"], "guinea pig, brown");
  ASSERT_EQ(named["annotations"].size(), kinds_.size());
  for (std::size_t i = 0; i < kinds_.size(); ++i)
    EXPECT_EQ(named["annotations"][i]["category_id"], kinds_[i] == 0 ? 2 : 1);
  // The trainer takes it, with its classes.
  const train::Dataset data(folder_ / "named.json", folder_ / "photos");
  EXPECT_EQ(data.classes(), 2);
  EXPECT_EQ(data.load(0).classes, (std::vector<std::int64_t>{1, 0}));

  test::write_text(folder_ / "some.txt", "1, -\n3, cat\n");
  ASSERT_EQ(name_groups(logged_.run, {at("groups.json"), at("some.txt")}, at("some.json")), kSuccess);
  EXPECT_EQ(read("some.json")["annotations"].size(), 2u);
  EXPECT_THAT(logged_.log->text(), HasSubstr("5 are of groups named -, 3 of groups without a name"));
}

TEST_F(GroupJobTest, NamesThatAreWrongAreNamed) {
  ASSERT_EQ(job_.run(logged_.run, {at("groups.json")}), kSuccess);
  const auto error_of = [&](const std::string& names) {
    test::write_text(folder_ / "names.txt", names);
    try {
      name_groups(logged_.run, {at("groups.json"), at("names.txt")}, at("named.json"));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(error_of("1, cat\n9, dog\n"), HasSubstr("names.txt:2: " + at("groups.json") + " has no group '9'"));
  EXPECT_THAT(error_of("1, cat\n1, dog\n"), HasSubstr("names.txt:2: group 1 has a name already"));
  EXPECT_THAT(error_of("1 cat\n"), HasSubstr("names.txt:1: expected a group, a comma and its name"));
  EXPECT_THAT(error_of("1,\n"), HasSubstr("\"1, -\" leaves it out"));
  EXPECT_THAT(error_of("1, cat\n2, caf\xe9\n"), HasSubstr("names.txt:2: expected UTF-8"));
  EXPECT_THAT(error_of("4, cat\n"), HasSubstr("has no group '4'"));  // the objects of none are "other"
  EXPECT_THAT(error_of("1, -\n"), HasSubstr("none of the objects"));
  EXPECT_THROW(name_groups(logged_.run, {at("objects.json"), at("names.txt")}, at("named.json")), Error);
  EXPECT_FALSE(fs::exists(folder_ / "named.json"));
}

TEST_F(GroupJobTest, EvaluationAssignsTheTruthsCategories) {
  ASSERT_EQ(job_.run(logged_.run, {at("groups.json")}), kSuccess);
  Json truth = read("objects.json");
  truth["categories"] =
      Json::array({{{"id", 5}, {"name", "a"}}, {{"id", 6}, {"name", "b"}}, {{"id", 9}, {"name", "c"}}});
  const int ids[] = {9, 5, 6};
  for (std::size_t i = 0; i < kinds_.size(); ++i) truth["annotations"][i]["category_id"] = ids[kinds_[i]];
  truth["annotations"][0]["category_id"] = 5;  // one that no grouping gets right
  test::write_text(folder_ / "truth.json", truth.dump());
  const EvaluateConfig config{.truth = at("truth.json"), .predictions = at("groups.json"), .assign = true};
  const Evaluation found = evaluate(logged_.run, config);
  ASSERT_TRUE(found.assignment.has_value());
  EXPECT_EQ(found.assignment->groups[0].category, 9);
  EXPECT_EQ(found.assignment->groups[1].category, 5);
  EXPECT_EQ(found.assignment->groups[2].category, 6);
  EXPECT_NEAR(found.assignment->agreement.accuracy, 9.0 / 10, 1e-12);
  const auto json = found.json();
  EXPECT_EQ(json["assignment"]["objects"], 10);
  EXPECT_EQ(json["assignment"]["groups"][3]["name"], "other");
  EXPECT_TRUE(json["assignment"]["groups"][3]["category_id"].is_null());
  EXPECT_LT(json["mask"]["AP"].get<double>(), 1);
  EXPECT_GT(json["mask"]["AP"].get<double>(), 0.6);
  EvaluateConfig wrong = config;
  wrong.class_agnostic = true;
  EXPECT_THROW(evaluate(logged_.run, wrong), Error);
}

}  // namespace
}  // namespace usol
