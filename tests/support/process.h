#pragma once
// Runs the binary under test (or any program) as a child process, for the tests of the command line.

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace usol::test {

struct ProcessResult {
  int status = -1;  // exit status, or 128 + n if signal n ended it
  std::string out, err;
};

struct ProcessOptions {
  std::map<std::string, std::string> environment = {};  // added to ours
  std::string directory = {};                           // working directory; ours if empty
  double kill_after_seconds = -1;                       // send `kill_signal` then (not if negative)
  int kill_signal = 9;
  std::int64_t file_size_limit = -1;          // RLIMIT_FSIZE in bytes (none if negative): a disk that is full
  std::function<void(pid_t)> meanwhile = {};  // called once, with the process that runs
};

/// The usol binary that ctest names in USOL_BINARY, else build/usol beside this test program.
std::string usol_binary();
/// Runs `command` and waits. USOL_* variables of this process are not passed on.
ProcessResult run_process(const std::vector<std::string>& command, const ProcessOptions& options = {});
/// run_process of the usol binary with these arguments.
ProcessResult run_usol(const std::vector<std::string>& arguments, const ProcessOptions& options = {});

/// Why processes cannot be started together here: no MPI in the build, or no mpirun on the PATH. Empty if they can.
std::string no_ranks();
/// run_usol in `count` processes that mpirun starts together; of one, without it.
ProcessResult run_ranks(int count, const std::vector<std::string>& arguments, const ProcessOptions& options = {});
/// The process of that rank with `word` in its command line; -1 if there is none (yet).
pid_t rank_process(const std::string& word, int rank);

/// Whole file as a string. Throws Error if it cannot be read.
std::string read_text(const std::filesystem::path& path);
/// Writes the file, making its folder.
void write_text(const std::filesystem::path& path, const std::string& text);

}  // namespace usol::test
