#include "tests/support/run_here.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>

#include "usol/cli/program.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::test {
namespace {

// The USOL_* variables of this process.
std::map<std::string, std::string> own_variables() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    char* value = std::strchr(*entry, '=');
    if (std::strncmp(*entry, "USOL_", 5) == 0) variables.emplace(std::string(*entry, value), value + 1);
  }
  return variables;
}

// What is written to a descriptor goes to a file in memory as long as this exists.
class Captured {
 public:
  explicit Captured(int descriptor)
      : descriptor_(descriptor),
        before_(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)),
        file_(memfd_create("captured", MFD_CLOEXEC)) {
    std::fflush(nullptr);
    check(before_ >= 0 && file_ >= 0 && dup2(file_, descriptor) >= 0, ErrorKind::kIo, "run_here: cannot be captured");
  }
  ~Captured() {
    std::fflush(nullptr);
    dup2(before_, descriptor_);
    close(before_);
    close(file_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  std::string text() const {
    std::fflush(nullptr);
    std::string text(static_cast<std::size_t>(lseek(file_, 0, SEEK_END)), '\0');
    check(pread(file_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()), ErrorKind::kIo,
          "run_here: what was captured cannot be read");
    return text;
  }

 private:
  int descriptor_, before_, file_;
};

// Another working directory, and none of the variables that the binary reads, as long as this exists. Signals then mean
// what they did before.
class Surroundings {
 public:
  explicit Surroundings(const std::string& directory) {
    fs::current_path(directory);
    for (const auto& [name, value] : variables_) unsetenv(name.c_str());
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], nullptr, &actions_[i]);
  }
  ~Surroundings() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &actions_[i], nullptr);
    for (const auto& [name, value] : variables_) setenv(name.c_str(), value.c_str(), 1);
    std::error_code ignored;
    fs::current_path(directory_, ignored);
  }
  Surroundings(const Surroundings&) = delete;
  Surroundings& operator=(const Surroundings&) = delete;

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1, SIGXFSZ, SIGPIPE};
  std::array<struct sigaction, kSignals.size()> actions_{};
  std::map<std::string, std::string> variables_ = own_variables();
  fs::path directory_ = fs::current_path();
};

}  // namespace

ProcessResult run_here(const std::vector<std::string>& arguments, const std::string& directory) {
  const Surroundings surroundings(directory);
  const Captured out(STDOUT_FILENO), err(STDERR_FILENO);
  ProcessResult result;
  result.status = cli::run_program(arguments);
  result.out = out.text();
  result.err = err.text();
  return result;
}

}  // namespace usol::test
