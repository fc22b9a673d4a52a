// What signals do: the first one is answered and noted, a second request ends the process where it is.
#include "usol/cli/signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace usol::cli {
namespace {

constexpr unsigned kLaterUs = 400'000;  // no longer the same request

// Sends itself `first`, and `second` after `pause_us`; ends with the signal that is noted, if it lives on.
[[noreturn]] void get(int first, unsigned pause_us, int second, bool speaks = true) {
  install_signal_handlers(speaks);
  raise(first);
  usleep(pause_us);
  raise(second);
  std::exit(pending_signal());
}

TEST(SignalsDeathTest, TheFirstOneIsAnsweredAtOnce) {
  constexpr const char* kAgain = "^stopping: what is in hand is finished and saved first; once more ends it at once\n$";
  EXPECT_EXIT(get(SIGTERM, 0, SIGTERM), testing::ExitedWithCode(SIGTERM), kAgain);
  EXPECT_EXIT(get(SIGINT, 0, SIGINT), testing::ExitedWithCode(SIGINT), kAgain);
  EXPECT_EXIT(get(SIGUSR1, 0, SIGUSR1), testing::ExitedWithCode(SIGUSR1),
              "^stopping: what is in hand is finished and saved first\n$");
  EXPECT_EXIT(get(SIGTERM, 0, SIGTERM, false), testing::ExitedWithCode(SIGTERM), "^$");
}

// timeout and mpirun deliver one request twice, the latter as two signals.
TEST(SignalsDeathTest, ASecondRequestEndsTheProcessAndARepeatedOneDoesNot) {
  EXPECT_EXIT(get(SIGINT, 1000, SIGTERM), testing::ExitedWithCode(SIGINT), "");
  for (const int first : {SIGINT, SIGTERM})
    for (const int second : {SIGINT, SIGTERM})
      EXPECT_EXIT(get(first, kLaterUs, second), testing::KilledBySignal(second), "");
}

// A scheduler's SIGUSR1 comes minutes before its SIGTERM: what is in hand is still to be finished.
TEST(SignalsDeathTest, ANoticeIsNoRequest) {
  EXPECT_EXIT(get(SIGUSR1, kLaterUs, SIGTERM), testing::ExitedWithCode(SIGUSR1), "");
  EXPECT_EXIT(get(SIGTERM, kLaterUs, SIGUSR1), testing::ExitedWithCode(SIGTERM), "");
}

}  // namespace
}  // namespace usol::cli
