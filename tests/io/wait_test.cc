// Waits end when a stop is asked for, and no pipe is opened where a file is due.
#include "usol/io/wait.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/atomic_file.h"
#include "usol/io/sha256.h"
#include "usol/io/shared_bytes.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

std::atomic<bool> g_stop = false;

class WaitTest : public testing::Test {
 protected:
  WaitTest() {
    g_stop = false;
    set_stop_check([] { return g_stop.load(); });
    EXPECT_EQ(mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  }
  ~WaitTest() override { set_stop_check(nullptr); }

  // The work waits, and ends once a stop is asked for.
  static void expect_stopped(const std::function<void()>& work) {
    std::thread stopper([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(150));
      g_stop = true;
    });
    try {
      work();
      ADD_FAILURE() << "it did not wait";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInterrupted) << error.what();
      EXPECT_TRUE(g_stop) << "it did not wait";
    }
    stopper.join();
    g_stop = false;
  }

  test::TempDir dir_;
};

TEST_F(WaitTest, APipeWithoutAReader) {
  expect_stopped([&] { write_file(dir_ / "pipe", std::string_view("x")); });
}

TEST_F(WaitTest, AReaderThatDoesNotRead) {
  const FileDescriptor reader(open((dir_ / "pipe").c_str(), O_RDONLY | O_NONBLOCK));
  expect_stopped([&] { write_file(dir_ / "pipe", std::string(1 << 20, 'x')); });
}

TEST_F(WaitTest, APipeWithoutAWriter) {
  expect_stopped([&] { read_text_file(dir_ / "pipe"); });
}

TEST_F(WaitTest, WhatCanBeDoneAtOnceIsDoneAfterAStopToo) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const FileDescriptor read_end(ends[0]), write_end(ends[1]);
  g_stop = true;
  write_all(write_end.get(), std::as_bytes(std::span("hello", 5)), "pipe");
  char buffer[5];
  EXPECT_EQ(read(read_end.get(), buffer, 5), 5);
}

TEST_F(WaitTest, AllOfALongTextPassesThrough) {
  const std::string text(300'000, 'y');
  std::thread writer([&] { write_file(dir_ / "pipe", text); });
  EXPECT_EQ(read_text_file(dir_ / "pipe"), text);
  writer.join();
}

TEST_F(WaitTest, FilesAreRegularFiles) {
  const int socket_file = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (dir_ / "socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(bind(socket_file, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  for (const auto& [path, kind] : {std::pair{dir_ / "pipe", "a named pipe"},
                                   {dir_ / "socket", "a socket"},
                                   {std::filesystem::path("/dev/null"), "a device"},
                                   {dir_.path(), "a folder"}}) {
    for (const auto& reads : {std::function<void()>([&, p = path] { map_file(p); }),
                              std::function<void()>([&, p = path] { sha256_file(p); })}) {
      try {
        reads();
        ADD_FAILURE() << path;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kIo);
        EXPECT_NE(std::string(error.what()).find(kind), std::string::npos) << error.what();
      }
    }
  }
  close(socket_file);
}

}  // namespace
}  // namespace usol::io
