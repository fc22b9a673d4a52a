#pragma once
// Vectors that are too many for memory, in a file without a name beside the output: written once, then read in rows.
// Place: between the objects that were described and their groups (pipeline/group_job.h).

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

#include "usol/maskcut/groups/rows.h"

namespace usol {

class VectorFile {
 public:
  /// In the folder of `output`, or where temporary files go if that is a pipe or a device. Gone with this object.
  /// Throws Error(kIo).
  explicit VectorFile(const std::filesystem::path& output);

  /// Appends f32 [n, D], row after row; D is that of the first call. Throws Error(kIo) on a full disk, and Error for
  /// other lengths than whole rows.
  void add(std::span<const float> rows, std::int64_t dim);
  std::int64_t count() const { return count_; }
  /// All of them. They outlive this object; nothing may be added any more.
  maskcut::Rows rows() const;

 private:
  std::shared_ptr<std::FILE> file_;
  std::int64_t count_ = 0, dim_ = 0;
};

}  // namespace usol
