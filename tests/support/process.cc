#include "tests/support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/program_on_path.h"
#include "usol/tensor/check.h"
#include "usol/train/distributed.h"

namespace fs = std::filesystem;

namespace usol::test {
namespace {

[[noreturn]] void run_child(const std::vector<std::string>& command, const ProcessOptions& options, int out, int err) {
  dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (options.file_size_limit >= 0) {
    const auto bytes = static_cast<rlim_t>(options.file_size_limit);
    const rlimit limit{bytes, bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
  std::vector<std::string> inherited;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "USOL_", 5) == 0) inherited.emplace_back(*entry, std::strchr(*entry, '='));
  }
  for (const auto& name : inherited) unsetenv(name.c_str());
  for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv;
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

}  // namespace

std::string usol_binary() {
  if (const char* path = std::getenv("USOL_BINARY")) return path;
  return fs::canonical("/proc/self/exe").parent_path().parent_path() / "usol";
}

ProcessResult run_process(const std::vector<std::string>& command, const ProcessOptions& options) {
  using Clock = std::chrono::steady_clock;
  int out[2], err[2];
  check(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0, ErrorKind::kIo, "run_process: no pipe");
  const auto start = Clock::now();
  const pid_t child = fork();
  check(child >= 0, ErrorKind::kIo, "run_process: no process");
  if (child == 0) run_child(command, options, out[1], err[1]);
  close(out[1]);
  close(err[1]);
  if (options.meanwhile) options.meanwhile(child);
  ProcessResult result;
  std::array<pollfd, 2> files{pollfd{out[0], POLLIN, 0}, pollfd{err[0], POLLIN, 0}};
  bool killed = options.kill_after_seconds < 0;
  while (files[0].fd >= 0 || files[1].fd >= 0) {
    int timeout_ms = -1;
    if (!killed) {
      const double left = options.kill_after_seconds - std::chrono::duration<double>(Clock::now() - start).count();
      if (left <= 0) {
        kill(child, options.kill_signal);
        killed = true;
      } else {
        timeout_ms = static_cast<int>(left * 1000) + 1;
      }
    }
    if (poll(files.data(), files.size(), timeout_ms) < 0) continue;
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (files[i].fd < 0 || files[i].revents == 0) continue;
      char buffer[65536];
      const ssize_t n = read(files[i].fd, buffer, sizeof buffer);
      if (n > 0) {
        (i == 0 ? result.out : result.err).append(buffer, static_cast<std::size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        close(files[i].fd);
        files[i].fd = -1;
      }
    }
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

ProcessResult run_usol(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  std::vector<std::string> command{usol_binary()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_process(command, options);
}

namespace {

std::string mpirun() { return program_on_path({"mpirun"}); }

}  // namespace

std::string no_ranks() {
  if (!train::has_mpi()) return "this build has no MPI";
  return mpirun().empty() ? "there is no mpirun on the PATH" : "";
}

ProcessResult run_ranks(int count, const std::vector<std::string>& arguments, const ProcessOptions& options) {
  if (count == 1) return run_usol(arguments, options);
  std::vector<std::string> command{mpirun(), "--allow-run-as-root", "--oversubscribe",
                                   "-n",     std::to_string(count), usol_binary()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_process(command, options);
}

pid_t rank_process(const std::string& word, int rank) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    try {
      if (read_text(entry.path() / "cmdline").find(word) != std::string::npos &&
          read_text(entry.path() / "environ").find(fmt::format("OMPI_COMM_WORLD_RANK={}", rank) + '\0') !=
              std::string::npos)
        return std::stoi(name);
    } catch (const Error&) {  // it has ended meanwhile
    }
  }
  return -1;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  check(file.good(), ErrorKind::kIo, "{}: cannot be opened", path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  if (const auto parent = path.parent_path(); !parent.empty()) fs::create_directories(parent);
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  check(file.good(), ErrorKind::kIo, "{}: cannot be written", path.string());
}

}  // namespace usol::test
