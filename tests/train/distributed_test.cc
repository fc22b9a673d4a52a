// Joining the processes of a launcher. Real groups of them are in tests/cli/train_mpi_test.cc.
#include "usol/train/distributed.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/process.h"
#include "usol/tensor/error.h"

namespace usol::train {
namespace {

TEST(Distributed, AProcessAloneNeedsNoGroup) {
  EXPECT_EQ(join_ranks(), nullptr);
  abort_ranks(1);  // and has nobody to take along
}

TEST(Distributed, ProcessesThatCannotJoinEachOtherDoNothing) {
  for (const char* verb : {"maskcut", "eval"}) {
    const auto result = test::run_usol({verb, "--out", "x.json"}, {.environment = {{"PMI_SIZE", "2"}}});
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_NE(result.err.find("2 processes were started together, but"), std::string::npos) << result.err;
  }
}

TEST(Distributed, ABuildWithoutMpiRefusesAGroup) {
  if (has_mpi()) GTEST_SKIP() << "this build has MPI";
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  EXPECT_THROW(join_ranks(), Error);
  unsetenv("OMPI_COMM_WORLD_SIZE");
}

}  // namespace
}  // namespace usol::train
