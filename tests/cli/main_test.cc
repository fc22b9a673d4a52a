// The binary itself: version, overview, unknown verbs, and that every verb has help and refuses what it should.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/process.h"
#include "usol/cli/verb.h"
#include "usol/io/image_formats.h"
#include "usol/pipeline/version.h"
#include "usol/train/distributed.h"

namespace usol::cli {
namespace {

using test::run_usol;

TEST(Main, VersionAndOverview) {
  const auto version_run = run_usol({"--version"});
  EXPECT_EQ(version_run.status, 0);
  EXPECT_EQ(version_run.out, "usol " + std::string(version()) + "\nbuilt with " + built_with() + "\nreads " +
                                 io::readable_formats() + "\n");
  EXPECT_EQ(built_with().find("MPI") != std::string::npos, train::has_mpi());
  const auto help = run_usol({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.err, "");
  for (const auto& verb : verbs()) EXPECT_NE(help.out.find("  " + verb.name), std::string::npos) << verb.name;
}

// Scripts rely on these numbers; README and the overview name them.
TEST(Main, BadUsageIsStatusTwo) {
  EXPECT_EQ(kSuccess, 0);
  EXPECT_EQ(kFailure, 1);
  EXPECT_EQ(kBadUsage, 2);
  EXPECT_EQ(kSomeInputsFailed, 3);
  const auto nothing = run_usol({});
  EXPECT_EQ(nothing.status, kBadUsage);
  EXPECT_NE(nothing.err.find("Usage"), std::string::npos);
  const auto unknown = run_usol({"maskcat"});
  EXPECT_EQ(unknown.status, kBadUsage);
  EXPECT_NE(unknown.err.find("unknown verb 'maskcat'"), std::string::npos) << unknown.err;
  EXPECT_EQ(unknown.out, "");
}

TEST(Main, EveryVerbTeachesAndRefusesUnknownOptions) {
  for (const auto& verb : verbs()) {
    const auto help = run_usol({verb.name, "--help"});
    EXPECT_EQ(help.status, 0) << verb.name << help.err;
    EXPECT_NE(help.out.find("Examples:"), std::string::npos) << verb.name << " shows no example";
    EXPECT_NE(help.out.find("usol " + verb.name + " "), std::string::npos) << verb.name;
    const auto bad = run_usol({verb.name, "--no-such-option"});
    EXPECT_EQ(bad.status, kBadUsage) << verb.name << bad.err;
    EXPECT_NE(bad.err.find("--no-such-option"), std::string::npos) << bad.err;
    const auto environment = run_usol({verb.name}, {.environment = {{"USOL_THREADS", "many"}}});
    EXPECT_EQ(environment.status, kBadUsage) << verb.name;
    EXPECT_NE(environment.err.find("USOL_THREADS"), std::string::npos) << environment.err;
  }
}

}  // namespace
}  // namespace usol::cli
