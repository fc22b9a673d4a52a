#include "usol/cli/program.h"

#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "usol/cli/run_verb.h"
#include "usol/cli/signals.h"
#include "usol/cli/verb.h"
#include "usol/io/image_formats.h"
#include "usol/pipeline/version.h"
#include "usol/tensor/error.h"
#include "usol/train/distributed.h"

namespace usol::cli {
namespace {

std::string overview() {
  std::string text =
      "usol: objects in pictures, found and outlined without any labels.\n\n"
      "Usage: usol VERB [ARGUMENT...]\n\nVerbs:\n";
  for (const auto& verb : verbs()) text += fmt::format("  {:<12}{}\n", verb.name, verb.summary);
  text +=
      "\n`usol VERB --help` explains a verb, with examples. `usol --version` also says what it was built with.\n"
      "Results go to files (`--out -`: to the standard output), messages to stderr. A file that is read is never\n"
      "overwritten; --force replaces only what usol wrote. Exit status: 0 all done; 2 bad usage; 3 finished, but some "
      "inputs\n"
      "failed (listed at the end); 128+n stopped by signal n (--resume continues); 1 anything else.\n";
  return text;
}

// The library states the fact; the flags that help are the binary's.
const char* remedy(ErrorKind kind) {
  if (kind == ErrorKind::kExists) return "; --force replaces it, --resume goes on with it";
  if (kind == ErrorKind::kOtherSettings) return "; repeat them, or start anew with --force";
  if (kind == ErrorKind::kOtherVersion) return "; finish it with that version, or start anew with --force";
  return "";
}

bool is_bad_usage(ErrorKind kind) {
  return kind == ErrorKind::kUsage || kind == ErrorKind::kExists || kind == ErrorKind::kOtherSettings ||
         kind == ErrorKind::kOtherVersion;
}

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    fmt::print(stderr, "{}", overview());
    return kBadUsage;
  }
  const std::string& first = arguments[0];
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  if (first == "--version") {
    fmt::print("usol {}\nbuilt with {}\nreads {}\n", version(), built_with(), io::readable_formats());
    return kSuccess;
  }
  if (first == "--help" || first == "-h" || (first == "help" && rest.empty())) {
    fmt::print("{}", overview());
    return kSuccess;
  }
  if (first == "help") return dispatch({rest[0], "--help"});
  if (is_verb(first)) return run_verb(first, rest);
  fail(ErrorKind::kUsage, fmt::format("unknown verb '{}'; `usol --help` lists the verbs", first));
}

}  // namespace

int run_program(const std::vector<std::string>& arguments) {
  const std::string name = arguments.empty() || arguments[0].starts_with("-") ? "usol" : "usol " + arguments[0];
  int status = kFailure;
  try {
    return dispatch(arguments);
  } catch (const Error& error) {
    fmt::print(stderr, "{}: {}{}\n", name, error.what(), remedy(error.kind()));
    if (is_bad_usage(error.kind())) status = kBadUsage;
    if (error.kind() == ErrorKind::kInterrupted) status = 128 + pending_signal();
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "{}: out of memory\n", name);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
  }
  train::abort_ranks(status);  // the other processes would wait for this one for ever
  return status;
}

}  // namespace usol::cli
