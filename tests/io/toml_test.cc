// Settings files: what is read, and that everything else is an error naming the line.
#include "usol/io/toml.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using Values = std::vector<std::string>;

TEST(Toml, ReadsWhatSettingsNeed) {
  const auto entries = parse_toml(
      "# a comment\n"
      "tau = 0.15  # another\r\n"
      "out = \"a # b, \\\"c\\\" \\u00e9.json\"\n"
      "raw = 'C:\\x'\n"
      "size = 1_000\n"
      "\n"
      "[maskcut]\n"
      "crf = false\n"
      "inputs = [ \"a b\", 'c',  # comment\n"
      "  \"d\",\n"
      "]\n"
      "train.group_size = -2\n"
      "empty = []",
      "c.toml");
  ASSERT_EQ(entries.size(), 8u);
  EXPECT_EQ(entries[0].key, "tau");
  EXPECT_EQ(entries[0].section, "");
  EXPECT_EQ(entries[0].values, Values{"0.15"});
  EXPECT_EQ(entries[1].values, Values{"a # b, \"c\" \xc3\xa9.json"});
  EXPECT_EQ(entries[2].values, Values{"C:\\x"});
  EXPECT_EQ(entries[3].values, Values{"1000"});
  EXPECT_EQ(entries[4].section, "maskcut");
  EXPECT_EQ(entries[4].values, Values{"false"});
  EXPECT_EQ(entries[4].line, 8);
  EXPECT_TRUE(entries[5].is_array);
  EXPECT_EQ(entries[5].values, (Values{"a b", "c", "d"}));
  EXPECT_EQ(entries[6].section, "maskcut.train");
  EXPECT_EQ(entries[6].key, "group_size");
  EXPECT_TRUE(entries[7].is_array);
  EXPECT_TRUE(entries[7].values.empty());
}

TEST(Toml, EveryMistakeIsAnErrorNamingTheLine) {
  for (const std::string bad : {"x",
                                "x =",
                                "x = y",
                                "= 1",
                                "x = \"a",
                                "x = 'a",
                                "x = 1 2",
                                "x = [1",
                                "x = [1 2]",
                                "x = [[1]]",
                                "x = {a = 1}",
                                "[a",
                                "[[a]]",
                                "[a] b",
                                "x = \"\\q\"",
                                "x = \"\\u12\"",
                                "x = \"\\uD800\"",
                                "x = \"\"\"a\"\"\"",
                                "x = 1\nx = 2",
                                "[a]\n[b]\n[a]",
                                "x = 2020-01-01",
                                "x = -",
                                "x. = 1",
                                "x = 0x",
                                "x = 1.2.3"}) {
    try {
      parse_toml("\n" + bad, "c.toml");
      ADD_FAILURE() << "accepted: " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFormat) << bad;
      EXPECT_EQ(std::string(error.what()).rfind("c.toml:", 0), 0u) << error.what();
    }
  }
}

TEST(Toml, QuotedTextReadsBack) {
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  const auto entries = parse_toml("x = " + toml_quote(all), "c.toml");
  EXPECT_EQ(entries.at(0).values, Values{all});
}

}  // namespace
}  // namespace usol::io
