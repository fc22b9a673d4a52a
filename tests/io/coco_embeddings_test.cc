// "emb" of a COCO file's annotations: which rows are whose, and what is refused.
#include "usol/io/coco_embeddings.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

class CocoEmbeddingsTest : public testing::Test {
 protected:
  CocoEmbeddings read(const std::string& annotations) {
    test::write_text(folder_ / "a.json", R"({"images": [{"id": 1, "emb": [9, 9]}], "annotations": [)" + annotations +
                                             R"(], "categories": []})");
    return read_coco_embeddings(folder_ / "a.json", 2);
  }
  std::string error_of(const std::string& annotations) {
    try {
      read(annotations);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFormat);
      return error.what();
    }
    return "no error";
  }
  test::TempDir folder_;
};

TEST_F(CocoEmbeddingsTest, AreNamedByTheRecord) {
  const CocoEmbeddings all =
      read(R"({"id": 5}, {"id": 6, "emb": [0.5, -2]}, {"emb": null}, {"emb": []}, {"emb": [3, 1e-3]}, {"id": 8})");
  EXPECT_EQ(all.width, 2);
  const std::vector<std::vector<float>> expected{{}, {0.5F, -2}, {}, {}, {3, 1e-3F}, {}, {}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto row = all.of(static_cast<std::int64_t>(i));
    EXPECT_EQ(std::vector<float>(row.begin(), row.end()), expected[i]) << i;
  }
  EXPECT_EQ(read(R"({"id": 5, "note": "\"emb\""})").width, 0);
}

TEST_F(CocoEmbeddingsTest, ErrorsNameTheRecord) {
  EXPECT_NE(error_of(R"({}, {"emb": [1]})").find("annotations[1].emb: expected 2 numbers"), std::string::npos);
  EXPECT_NE(error_of(R"({"emb": 5})").find("annotations[0].emb: expected numbers, got 5"), std::string::npos);
  EXPECT_NE(error_of(R"({"emb": [1, "2"]})").find("expected finite numbers of f32, got \"2\""), std::string::npos);
  EXPECT_NE(error_of(R"({"emb": [1, 1e200]})").find("expected finite numbers of f32"), std::string::npos);
  EXPECT_NE(error_of(R"({"emb": [1, nan]})").find("malformed JSON"), std::string::npos);
}

}  // namespace
}  // namespace usol::io
