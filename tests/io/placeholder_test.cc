// What stands where a file should be, in the spellings that servers and git leave behind.
#include "usol/io/placeholder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/support/temp_dir.h"
#include "usol/io/atomic_file.h"
#include "usol/io/coco.h"
#include "usol/io/npy.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string what_is(std::string_view text) {
  const auto found = recognise_placeholder(bytes_of(text));
  return found ? found->what : "";
}

constexpr std::string_view kPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 88199168\n";

TEST(Placeholder, PointersAndPagesAreRecognised) {
  EXPECT_EQ(what_is(kPointer), "a git-LFS pointer");
  EXPECT_THAT(recognise_placeholder(bytes_of(kPointer))->remedy, HasSubstr("(88199168 bytes) with 'git lfs pull'"));
  EXPECT_EQ(what_is("/annex/objects/SHA256E-s1--00.pth\n"), "a git-annex pointer");
  for (const char* page : {"<!DOCTYPE html>", "<!doctype HTML PUBLIC", "<html lang=\"en\">", "\r\n  <HTML>",
                           "\xef\xbb\xbf<html>", "<!-- saved --><html>", "<?xml version=\"1.0\"?>\n<!DOCTYPE html>",
                           "<head><title>404", "<!-- a --> <!-- b -->\n<body>"})
    EXPECT_EQ(what_is(page), "a web page (HTML)") << page;
  EXPECT_EQ(what_is("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
            "a server's error message (XML)");
}

TEST(Placeholder, EverythingElseIsNot) {
  for (const char* text : {"", "<", "<!--", "<svg xmlns", "<?xml version=\"1.0\"?><annotation>", "version 1",
                           "{\"a\": 1}", "<annotation><filename>a.jpg", "P5 2 2 255", "html"})
    EXPECT_EQ(what_is(text), "") << text;
}

TEST(Placeholder, ReadersOfEveryKindAsk) {
  const test::TempDir dir;
  write_file(dir / "file", bytes_of(kPointer));
  const auto error = [&](auto read) -> std::string {
    try {
      read(dir / "file");
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kFormat);
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(error([](const auto& path) { load_npy(path); }), HasSubstr("this is a git-LFS pointer, not an array"));
  EXPECT_THAT(error([](const auto& path) { load_safetensors(path); }), HasSubstr("this is a git-LFS pointer"));
  EXPECT_THAT(error([](const auto& path) { read_coco(path); }), HasSubstr("this is a git-LFS pointer, not JSON"));
}

TEST(Placeholder, BeginningsAreTextOrNumbers) {
  EXPECT_EQ(beginning_of(bytes_of("Entry not found\nmore")), "the text 'Entry not found'");
  EXPECT_EQ(beginning_of(bytes_of("\xff\xd8\xff")), "ff d8 ff");
  EXPECT_EQ(beginning_of(bytes_of("ab")), "61 62");
  EXPECT_EQ(beginning_of({}), "");
}

}  // namespace
}  // namespace usol::io
