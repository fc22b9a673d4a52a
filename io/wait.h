#pragma once
// Waits that a signal can end: writing to a pipe that nobody reads, reading from one that nobody writes. Everything in
// this room that could wait for another process goes through here.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace usol::io {

/// A file descriptor that is closed at the end.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number = -1) : number_(number) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  int get() const { return number_; }
  int release();

 private:
  int number_;
};

/// `asked` is called some times a second by whoever waits; once it returns true, the wait ends with
/// Error(kInterrupted). The program sets it once, at its start (it may only look at what its signal handlers noted);
/// without it nothing ends a wait.
void set_stop_check(bool (*asked)());
/// Throws Error(kInterrupted) if a stop is asked for.
void throw_if_stop_asked();

/// Opens a pipe, terminal or device for writing; waits for the reader of a named pipe. Throws Error(kIo) naming the
/// path, Error(kInterrupted).
FileDescriptor open_stream_for_writing(const std::filesystem::path& path);
/// Writes all bytes to a descriptor of any kind, waiting for room as long as no stop is asked for. `name` is for error
/// texts. Throws Error(kIo), Error(kInterrupted).
void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& name);

/// Opens a regular file for reading and nothing else: a named pipe, a socket or a device is never opened, so nothing
/// is waited for (but for a process that has a lease on the file, as file servers take them). Throws Error(kIo) naming
/// the path and what it is instead, Error(kInterrupted).
FileDescriptor open_regular_file(const std::filesystem::path& path);
/// The whole of a file that a user has named, as text. A pipe or a terminal is read to its end (`<(command)` of a shell
/// is one). Throws Error(kIo), Error(kInterrupted).
std::string read_text_file(const std::filesystem::path& path);

/// "a named pipe", "a folder", ...: what the mode of stat() says.
std::string_view kind_of_file(unsigned mode);

}  // namespace usol::io
