// What the command line's inputs become: names, ids, order, and the errors for everything that is unclear.
#include "usol/pipeline/inputs.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/coco.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

using Names = std::vector<std::string>;

class InputsTest : public testing::Test {
 protected:
  void make(const std::string& name, const std::string& text = "x") { test::write_text(folder_ / name, text); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  static InputList collect(const Names& inputs, const std::string& image_root = {}) {
    InputOptions options;
    options.inputs = inputs;
    options.image_root = image_root;
    return options.collect();
  }

  // Names in order; every path must exist and every id must be the place in the list.
  static Names names(const InputList& list) {
    Names out;
    for (std::int64_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(list[i].id, i + 1);
      EXPECT_TRUE(fs::exists(list[i].path)) << list[i].path;
      out.push_back(list[i].file_name);
    }
    return out;
  }

  static void expect_usage_error(const Names& inputs, const std::string& part, const std::string& image_root = {}) {
    try {
      const auto list = collect(inputs, image_root);
      check_output_paths(list);
      ADD_FAILURE() << "accepted; expected an error with '" << part << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

  test::TempDir folder_;
};

TEST_F(InputsTest, FoldersAreWalkedInNaturalOrder) {
  for (const char* name : {"d/img10.jpg", "d/img2.JPG", "d/img01.png", "d/sub/b.webp", "d/Sub/a.jpeg", "d/note.txt",
                           "d/.hidden.jpg", "d/.git/x.jpg", "d/img2.json"}) {
    make(name);
  }
  const auto list = collect({at("d")});
  EXPECT_EQ(names(list), (Names{"Sub/a.jpeg", "img01.png", "img2.JPG", "img10.jpg", "sub/b.webp"}));
  EXPECT_EQ(list.ignored(), 2);
  EXPECT_EQ(names(collect({at("d/")})), names(list));
  fs::create_directory_symlink(folder_ / "d/sub", folder_ / "d/link");
  EXPECT_EQ(collect({at("d")}).size(), 6);
  fs::create_directory_symlink(folder_ / "d", folder_ / "d/sub/loop");
  expect_usage_error({at("d")}, "is a link to a folder that it lies in");
}

TEST_F(InputsTest, FramesOfVideosComeInOrderAndTheirOverlaysKeepTheNumbers) {
  for (const char* clip : {"clip2", "clip10"}) {
    for (const char* frame : {"000010.png", "000009.png", "000100.png"}) make(fmt::format("films/{}/{}", clip, frame));
  }
  make("films/clip2/audio.wav");
  const InputList list = collect({at("films")});
  EXPECT_EQ(names(list), (Names{"clip2/000009.png", "clip2/000010.png", "clip2/000100.png", "clip10/000009.png",
                                "clip10/000010.png", "clip10/000100.png"}));
  check_output_paths(list);
  EXPECT_EQ(output_path("look", list.file_name(3), ".jpg"), fs::path("look/clip10/000009.jpg")) << "%06d.jpg, in order";
}

TEST_F(InputsTest, FilesPatternsAndImageRoot) {
  for (const char* name : {"d/a/1.jpg", "d/b/1.jpg", "d/b/2.png", "d/b/readme.md"}) make(name);
  EXPECT_EQ(names(collect({at("d/b/2.png"), at("d/a/1.jpg")})), (Names{"1.jpg", "2.png"}));
  EXPECT_EQ(names(collect({at("d/*/1.*")})), (Names{"a/1.jpg", "b/1.jpg"}));
  EXPECT_EQ(names(collect({at("d/?")})), (Names{"a/1.jpg", "b/1.jpg", "b/2.png"}));
  EXPECT_EQ(names(collect({at("d/b/*")})), (Names{"1.jpg", "2.png"}));
  EXPECT_EQ(names(collect({at("d/a"), at("d/b/2.png"), at("d/b/1*")}, folder_.path().string())),
            (Names{"d/a/1.jpg", "d/b/1.jpg", "d/b/2.png"}));
  expect_usage_error({at("d/a"), at("d/b")}, "have one name, 1.jpg; give image-root");
  expect_usage_error({at("d/a")}, "is not under image-root", at("d/b"));
  expect_usage_error({at("d/a")}, "no such folder", at("d/absent"));
  make("d/[x].jpg");
  EXPECT_EQ(names(collect({at("d/[x].jpg")})), Names{"[x].jpg"});
}

TEST_F(InputsTest, Lists) {
  for (const char* name : {"d/a/1.jpg", "d/b/2.png", "e/3.jpg"}) make(name);
  make("d/list.txt", "# comment\na/1.jpg\r\n\nb/2.png\n");
  EXPECT_EQ(names(collect({at("d/list.txt")})), (Names{"a/1.jpg", "b/2.png"}));
  make("elsewhere/list.txt", "b/2.png\n./a/1.jpg\n");
  EXPECT_EQ(names(collect({at("elsewhere/list.txt")}, at("d"))), (Names{"a/1.jpg", "b/2.png"}));
  make("elsewhere/absolute.txt", at("e/3.jpg") + "\n" + at("d/a/1.jpg") + "\n");
  EXPECT_EQ(names(collect({at("elsewhere/absolute.txt")})), (Names{"1.jpg", "3.jpg"}));
  EXPECT_EQ(names(collect({at("elsewhere/absolute.txt")}, folder_.path().string())), (Names{"d/a/1.jpg", "e/3.jpg"}));
  expect_usage_error({at("elsewhere/list.txt")}, "does not exist");
  make("empty.txt", "# nothing\n");
  expect_usage_error({at("empty.txt")}, "the list is empty");
  // One file that is gone is its own failure later, not the whole list's.
  make("d/partly.txt", "a/1.jpg\na/gone.jpg\n");
  EXPECT_EQ(collect({at("d/partly.txt")}).size(), 2);
}

TEST_F(InputsTest, CocoFilesGiveIdsNamesAndOrder) {
  make("d/z.jpg");
  make("d/sub/a.jpg");
  make("coco.json", R"({"annotations": [{"id": 1}], "images": [{"id": 42, "file_name": "z.jpg", "width": 3},
                      {"id": 7, "file_name": "sub/a.jpg"}], "categories": []})");
  const auto list = collect({at("coco.json")}, at("d"));
  ASSERT_EQ(list.size(), 2);
  EXPECT_EQ(list[0].id, 42);
  EXPECT_EQ(list[0].file_name, "z.jpg");
  EXPECT_EQ(list[1].id, 7);
  EXPECT_EQ(list[1].path, folder_ / "d/sub/a.jpg");
  expect_usage_error({at("coco.json")}, "needs image-root");
  expect_usage_error({at("coco.json"), at("d")}, "must be the only input", at("d"));
  expect_usage_error({at("coco.json")}, "is image-root right?", folder_.path().string());
  make("empty.json", R"({"images": []})");
  expect_usage_error({at("empty.json")}, "no picture in", at("d"));
  for (const char* bad : {R"({"images": [{"id": 1, "file_name": "z.jpg"}, {"id": 1, "file_name": "sub/a.jpg"}]})",
                          "{\"images\": [{\"id\": 1}]}", "{\"images\": [3]}", "[]", "{\"images\": [",
                          "{\"images\": [{\"id\": 1.5, \"file_name\": \"z.jpg\"}]}"}) {
    make("bad.json", bad);
    try {
      collect({at("bad.json")}, at("d"));
      ADD_FAILURE() << "accepted " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFormat) << bad;
      EXPECT_NE(std::string(error.what()).find("bad.json"), std::string::npos) << error.what();
    }
  }
}

TEST_F(InputsTest, CocoFilesAreReadAsByEveryOtherReader) {
  make("d/z.jpg");
  make("d/sub/a.jpg");
  make("coco.json",
       "\xef\xbb\xbf"
       R"({"images": [{"id": 1.0, "file_name": "z.jpg", "width": null, "height": 0},
       {"id": "cat", "file_name": "sub\\a.jpg"}, {"id": 9223372036854775807, "coco_url": "http://host/sub/a.jpg"}]})");
  const auto list = collect({at("coco.json")}, at("d"));
  ASSERT_EQ(list.size(), 3);
  EXPECT_EQ(list[0].id, 1);
  EXPECT_EQ(list[1].id, io::id_from_text("cat"));
  EXPECT_EQ(list[2].id, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(list[1].file_name, "sub\\a.jpg");  // as the file has it, so that it is found there again
  EXPECT_EQ(list[1].path, folder_ / "d/sub/a.jpg");
  EXPECT_EQ(output_path("out", list[1].file_name, ".png"), "out/sub/a.png");
  EXPECT_EQ(list.annotation_file(), at("coco.json"));
  EXPECT_EQ(list.report().count(io::ReadingKind::kTextId), 1);
  EXPECT_EQ(list.report().count(io::ReadingKind::kBackslash), 1);
  EXPECT_EQ(list.report().count(io::ReadingKind::kSizeUnknown), 0);
}

TEST_F(InputsTest, ANameWithABackslashMayBeAFile) {
  make("d/sub\\a.jpg");
  make("d/sub/a.jpg");
  make("coco.json", R"({"images": [{"id": 1, "file_name": "sub\\a.jpg"}]})");
  EXPECT_EQ(collect({at("coco.json")}, at("d"))[0].path, folder_ / "d/sub\\a.jpg");
}

TEST_F(InputsTest, ListsFromWindows) {
  make("d/sub/a.jpg");
  make("d/b.jpg");
  make("d/list.txt",
       "\xef\xbb\xbf"
       "b.jpg\r\nsub\\a.jpg\r\n");
  const auto list = collect({at("d/list.txt")});
  EXPECT_EQ(names(list), (Names{"b.jpg", "sub/a.jpg"}));
  EXPECT_EQ(list[1].path, folder_ / "d/sub/a.jpg");
  make("d/utf16.txt", std::string("\xff\xfe"
                                  "b\0.\0j\0p\0g\0",
                                  12));
  EXPECT_THROW(collect({at("d/utf16.txt")}), Error);
}

TEST_F(InputsTest, NothingToWorkOnIsAUsageError) {
  expect_usage_error({}, "no input");
  expect_usage_error({at("absent")}, "absent: no such file or folder");
  expect_usage_error({at("absent*")}, "no file matches");
  make("d/readme.md");
  expect_usage_error({at("d")}, "1 files are no pictures");
  fs::create_directory(folder_ / "empty");
  expect_usage_error({at("empty")}, "no picture in");
}

TEST_F(InputsTest, OneOutputPathForTwoInputsIsAUsageError) {
  for (const char* name : {"d/a.jpg", "d/a.png", "d/sub/a.jpg"}) make(name);
  expect_usage_error({at("d")}, "would write the same output, a.*");
  make("l.txt", "../" + folder_.path().filename().string() + "/d/a.jpg\n");
  expect_usage_error({at("l.txt")}, "outside the output folder");
  EXPECT_EQ(output_path("out", "sub.x/a.b.jpg", ".safetensors"), fs::path("out/sub.x/a.b.safetensors"));
}

TEST_F(InputsTest, DigestNamesTheWork) {
  for (const char* name : {"d/1.jpg", "d/2.jpg", "e/1.jpg", "e/2.jpg"}) make(name);
  EXPECT_EQ(collect({at("d")}).digest(), collect({at("e/*.jpg")}).digest());
  EXPECT_NE(collect({at("d")}).digest(), collect({at("d/1.jpg")}).digest());
}

TEST(NaturalOrder, NumbersCompareAsNumbers) {
  const Names sorted = {"", "01", "1", "2", "10", "a", "a1b", "a1c", "a01c2", "a2", "a10", "b", "\xc3\xa9"};
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    for (std::size_t j = 0; j < sorted.size(); ++j) {
      EXPECT_EQ(natural_less(sorted[i], sorted[j]), i < j) << sorted[i] << " " << sorted[j];
    }
  }
}

TEST(ShardTest, PartsCoverEverythingOnce) {
  for (const std::int64_t total : {0, 1, 7, 100, 101}) {
    for (const std::int64_t count : {1, 2, 3, 7, 150}) {
      std::int64_t next = 0;
      for (std::int64_t k = 1; k <= count; ++k) {
        const Shard shard{k, count};
        EXPECT_EQ(shard.first(total), next);
        EXPECT_LE(shard.last(total) - shard.first(total), total / count + 1);
        next = shard.last(total);
      }
      EXPECT_EQ(next, total);
    }
  }
  for (const char* bad : {"", "1", "0/2", "3/2", "1/0", "-1/2", "1/2x", "x/2", "1//2", "/", "1/"}) {
    EXPECT_THROW(Shard::parse(bad), Error) << bad;
  }
  EXPECT_EQ(Shard::parse("2/3").index, 2);
  EXPECT_EQ(Shard::parse("2/3").count, 3);
}

}  // namespace
}  // namespace usol
