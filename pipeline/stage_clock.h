#pragma once
// How long each stage of a job takes, summed over pictures and threads, for people and for `usol report`. A file of its
// own: results never hold times.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace usol {

class StageClock {
 public:
  /// Measures from its construction to its end.
  class Scope {
   public:
    Scope(StageClock& clock, std::string stage) : clock_(clock), stage_(std::move(stage)) {}
    ~Scope() { clock_.add(stage_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count()); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    StageClock& clock_;
    std::string stage_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  };

  /// `stages` in the order in which they are written.
  explicit StageClock(const std::vector<std::string>& stages);
  /// Adds to a stage; from any thread.
  void add(const std::string& stage, double seconds);
  void count_image();
  /// Writes {"images": N, "seconds": {"stage": S, ...}}: of this process's pictures. Throws Error(kIo).
  void write(const std::filesystem::path& path) const;

 private:
  mutable std::mutex mutex_;
  std::int64_t images_ = 0;
  std::vector<std::pair<std::string, double>> seconds_;
};

}  // namespace usol
