// What is UTF-8, and what is shown of text that is not.
#include "usol/io/utf8.h"

#include <gtest/gtest.h>

namespace usol::io {
namespace {

TEST(Utf8, IsWhatJsonHolds) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("caf\xc3\xa9 \xf0\x9f\x90\x88"));
  for (const char* text : {"caf\xe9", "\xff", "\xc3", "\xed\xa0\x80", "\xc0\xaf"}) EXPECT_FALSE(is_utf8(text)) << text;
}

TEST(Utf8, WhatIsNotIsShownByItsBytes) {
  EXPECT_EQ(printable("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(printable("caf\xe9"), "caf\\xe9");
  EXPECT_EQ(printable("\xc3\xa9\xff"), "\\xc3\\xa9\\xff");
  EXPECT_EQ(printable("a\nb\x7f"), "a\\x0ab\\x7f");
}

}  // namespace
}  // namespace usol::io
