// Images of two files brought together by name.
#include "usol/eval/match_images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "usol/tensor/error.h"

namespace usol::eval {
namespace {

io::AnnotationSet set_of(const std::string& name, const std::vector<io::CocoImage>& images,
                         const std::vector<std::int64_t>& annotated) {
  io::AnnotationSet set;
  set.name = name;
  set.images = images;
  for (const std::int64_t id : annotated) {
    io::CocoAnnotation annotation;
    annotation.image_id = id;
    set.annotations.push_back(annotation);
  }
  return set;
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

const io::AnnotationSet& truth() {
  static const io::AnnotationSet set = set_of(
      "gt.json", {{100, 1, 1, "a.jpg"}, {200, 1, 1, "x/b.jpg"}, {300, 1, 1, "y/c.jpg"}, {400, 1, 1, "z/c.jpg"}}, {});
  return set;
}

TEST(MatchImages, ByWholeNameThenByLastPart) {
  io::AnnotationSet predictions =
      set_of("pred.json", {{1, 1, 1, "b.jpg"}, {2, 1, 1, "train/a.jpg"}, {3, 1, 1, "z/c.jpg"}, {4, 1, 1, "other.jpg"}},
             {3, 1, 2, 2});
  match_by_file_name(truth(), predictions);
  EXPECT_EQ(predictions.annotations[0].image_id, 400);
  EXPECT_EQ(predictions.annotations[1].image_id, 200);
  EXPECT_EQ(predictions.annotations[2].image_id, 100);
  EXPECT_EQ(predictions.annotations[3].image_id, 100);
  EXPECT_EQ(predictions.images[1].id, 100);
}

TEST(MatchImages, Errors) {
  io::AnnotationSet unknown = set_of("pred.json", {{1, 1, 1, "d.jpg"}}, {1});
  EXPECT_EQ(error_of([&] { match_by_file_name(truth(), unknown); }),
            "pred.json: annotations[0]: its image 'd.jpg' is not in gt.json");
  io::AnnotationSet ambiguous = set_of("pred.json", {{1, 1, 1, "c.jpg"}}, {1});  // y/c.jpg or z/c.jpg?
  EXPECT_EQ(error_of([&] { match_by_file_name(truth(), ambiguous); }),
            "pred.json: annotations[0]: its image 'c.jpg' is not in gt.json");
  io::AnnotationSet twice = set_of("pred.json", {{1, 1, 1, "a.jpg"}, {2, 1, 1, "a.jpg"}}, {});
  EXPECT_EQ(error_of([&] { match_by_file_name(truth(), twice); }),
            "pred.json: images[0] and images[1] have one file_name, 'a.jpg'; match them by id");
  io::AnnotationSet results;
  results.is_results = true;
  results.name = "pred.json";
  EXPECT_EQ(error_of([&] { match_by_file_name(truth(), results); }),
            "pred.json: a list of results names no files; matching by file name needs a COCO data set with images");
}

TEST(MatchImages, EqualIdsOfDifferentFilesAreNoticed) {
  check_ids_mean_the_same(truth(), set_of("pred.json", {{100, 1, 1, "train/a.jpg"}, {5, 1, 1, "q.jpg"}}, {}));
  check_ids_mean_the_same(truth(), set_of("pred.json", {{100, 1, 1, ""}}, {}));
  EXPECT_EQ(error_of([] {
              check_ids_mean_the_same(truth(), set_of("pred.json", {{100, 1, 1, "b.jpg"}}, {}));
            }),
            "image 100 is 'a.jpg' in gt.json, but 'b.jpg' in pred.json: match file_name compares by name, match id "
            "trusts the ids");
  // Both are some c.jpg, but the prediction's is that of another image.
  EXPECT_EQ(
      error_of([] {
        check_ids_mean_the_same(truth(), set_of("pred.json", {{300, 1, 1, "z\\c.jpg"}}, {}));
      }),
      "image 300 is 'y/c.jpg' in gt.json, but 'z\\c.jpg' in pred.json: match file_name compares by name, match id "
      "trusts the ids");
  check_ids_mean_the_same(truth(), set_of("pred.json", {{300, 1, 1, "y\\c.jpg"}, {400, 1, 1, "c.jpg"}}, {}));
}

TEST(MatchImages, AsSomebodySays) {
  const auto permuted = [] { return set_of("pred.json", {{100, 1, 1, "b.jpg"}, {200, 1, 1, "a.jpg"}}, {100, 200}); };
  io::AnnotationSet predictions = permuted();
  EXPECT_THAT(error_of([&] { match_images(truth(), predictions, Matching{}); }), testing::HasSubstr("image 100 is"));
  match_images(truth(), predictions, {.ids_are_certain = true});
  EXPECT_EQ(predictions.annotations[0].image_id, 100);
  match_images(truth(), predictions, {.by = "file_name"});
  EXPECT_EQ(predictions.annotations[0].image_id, 200);
  EXPECT_EQ(predictions.annotations[1].image_id, 100);
  EXPECT_THAT(error_of([&] { match_images(truth(), predictions, {.by = "name"}); }), testing::HasSubstr("'name'"));
}

TEST(MatchImages, ByIdUnlessNamesDiffer) {
  io::AnnotationSet same = set_of("pred.json", {{300, 1, 1, "c.jpg"}}, {300});
  match_images(truth(), same);
  EXPECT_EQ(same.annotations[0].image_id, 300);
  io::AnnotationSet folders = set_of("pred.json", {{300, 1, 1, "z/c.jpg"}, {400, 1, 1, "y/c.jpg"}}, {300});
  match_images(truth(), folders);
  EXPECT_EQ(folders.annotations[0].image_id, 400);
}

}  // namespace
}  // namespace usol::eval
