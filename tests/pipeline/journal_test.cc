// The journal: what was appended is read back, torn ends and damage are dropped, other settings are refused.
#include "usol/pipeline/journal.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

using Json = nlohmann::ordered_json;

class JournalTest : public testing::Test {
 protected:
  Journal resume(const Json& header) {
    warnings_.clear();
    return Journal::resume(path_, header, 10, 20, [&](const std::string& text) { warnings_.push_back(text); });
  }
  std::string write_some() {
    Journal journal = Journal::create(path_, header_, 10, 20);
    journal.append_device("B");
    journal.append_record(12, R"([{"id": 1}])");
    journal.append_error(10, "gone: \"x\"\n\xff");
    journal.append_device("A");
    journal.append_device("B");
    journal.append_record(19, "[]");
    return test::read_text(path_);
  }

  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "x.json.journal";
  Json header_ = {{"version", "1"}, {"settings", {{"tau", 0.15}, {"list", {1, 2}}}}};
  std::vector<std::string> warnings_;
};

TEST_F(JournalTest, ReadsBackWhatWasAppended) {
  write_some();
  EXPECT_THROW(Journal::create(path_, header_, 10, 20), Error);
  {
    Journal journal = resume(header_);
    EXPECT_TRUE(journal.has_record(12));
    EXPECT_TRUE(journal.has_record(19));
    EXPECT_TRUE(journal.has_error(10));
    EXPECT_FALSE(journal.has_record(10));
    EXPECT_FALSE(journal.has_record(11) || journal.has_error(11));
    EXPECT_EQ(journal.records(), 2);
    EXPECT_EQ(journal.line(12), R"({"index":12,"record":[{"id": 1}]})");
    EXPECT_EQ(Json::parse(journal.line(10))["error"], "gone: \"x\"\n\xEF\xBF\xBD");
    EXPECT_EQ(journal.devices(), (std::vector<std::string>{"B", "A"}));
    journal.append_record(10, "[1]");
    EXPECT_TRUE(journal.has_record(10));
  }
  const Journal journal = resume(header_);
  EXPECT_FALSE(journal.has_error(10)) << "the last line of an index counts";
  EXPECT_EQ(journal.records(), 3);
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(JournalTest, CutAnywhereItGoesOnAndEndsTheSame) {
  const std::string whole = write_some();
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    test::write_text(path_, whole.substr(0, size));
    {
      Journal journal = resume(header_);
      journal.append_device("B");
      if (!journal.has_record(12)) journal.append_record(12, R"([{"id": 1}])");
      if (!journal.has_error(10)) journal.append_error(10, "gone: \"x\"\n\xff");
      journal.append_device("A");
      if (!journal.has_record(19)) journal.append_record(19, "[]");
    }
    EXPECT_EQ(test::read_text(path_), whole) << "cut after " << size;
    EXPECT_LE(warnings_.size(), 1u);
  }
}

TEST_F(JournalTest, DamageIsDroppedWithAWarning) {
  const std::string whole = write_some();
  const auto line_end = whole.find("\n", whole.find("\"index\":12"));
  const std::vector<std::string> damages = {std::string(20, '\0') + "\n", "{\"index\":99,\"record\":[]}\n",
                                            "{\"index\":x,\"record\":[]}\n", "garbage\n"};
  for (const std::string& damage : damages) {
    test::write_text(path_, whole.substr(0, line_end + 1) + damage + whole.substr(line_end + 1));
    const Journal journal = resume(header_);
    EXPECT_EQ(journal.records(), 1);
    EXPECT_FALSE(journal.has_error(10));
    ASSERT_EQ(warnings_.size(), 1u);
    EXPECT_NE(warnings_[0].find("damaged after byte"), std::string::npos);
    EXPECT_EQ(test::read_text(path_), whole.substr(0, line_end + 1));
  }
}

TEST_F(JournalTest, OtherSettingsAndOtherFilesAreRefused) {
  write_some();
  Json other = header_;
  other["settings"]["tau"] = 0.2;
  other["settings"]["list"].push_back(3);
  other.erase("version");
  try {
    resume(other);
    ADD_FAILURE() << "accepted other settings";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOtherSettings);
    const std::string text = error.what();
    EXPECT_NE(text.find("settings.tau: was 0.15, is 0.2"), std::string::npos) << text;
    EXPECT_NE(text.find("settings.list.2: was absent, is 3"), std::string::npos) << text;
    EXPECT_NE(text.find("version: was \"1\", is absent"), std::string::npos) << text;
  }
  test::write_text(path_, "{\"images\": []}\n");
  EXPECT_THROW(resume(header_), Error);
}

}  // namespace
}  // namespace usol
