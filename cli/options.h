#pragma once
// A verb's options: settings (pipeline/settings.h) that also come from the command line and the environment, and their
// help. Order of precedence: flag, environment, settings file, preset. CLI11 splits the command line; it stays inside
// options.cc.

#include <string>
#include <vector>

#include "usol/pipeline/settings.h"

namespace usol::cli {

class Options : public SettingsTable {
 public:
  /// `program` is what the user types ("usol maskcut"), `verb` its section in settings files, `summary` one line.
  Options(const std::string& program, const std::string& verb, const std::string& summary)
      : SettingsTable(verb), program_(program), summary_(summary) {}

  /// A paragraph at the top of the help: what the verb does and what comes out.
  void about(const std::string& text) { about_ += (about_.empty() ? "" : "\n\n") + text; }
  /// A command at the end of the help, with a line that says what it does.
  void example(const std::string& command, const std::string& what);

  /// Reads arguments (without the program and the verb), environment (USOL_<NAME>), file and preset into the variables.
  /// Returns false if the help was asked for. Throws Error(kUsage) on anything wrong.
  bool parse(const std::vector<std::string>& arguments);
  /// The help text.
  std::string help() const;

 private:
  bool read_arguments(const std::vector<std::string>& arguments);
  void read_environment();

  std::string program_, summary_, about_, examples_;
};

}  // namespace usol::cli
