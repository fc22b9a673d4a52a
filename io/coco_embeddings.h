#pragma once
// The numbers that stand for objects' looks, "emb" of a COCO file's annotations. They are many and few ask for them, so
// they are read beside the annotations (io/coco.h), not with them.
// Place: what `usol discover` with embeddings writes, and what a detector with a loss for them learns.

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace usol::io {

/// Rows of `width` numbers; annotations are named by their position in the file's array, CocoAnnotation::record.
struct CocoEmbeddings {
  std::int64_t width = 0;            // 0: no annotation has any
  std::vector<float> numbers;        // row after row
  std::vector<std::int64_t> row_of;  // of each record up to the last one that has a row; -1: it has none

  /// The numbers of a record; empty if it has none.
  std::span<const float> of(std::int64_t record) const;
};

/// Goes through the annotations of a data set; no "emb", null and [] are as good as none. Throws Error(kIo) if the file
/// cannot be read, and Error(kFormat) naming file, record and field for malformed JSON, what are no finite numbers of
/// f32, and rows of another length than `width`.
CocoEmbeddings read_coco_embeddings(const std::filesystem::path& path, std::int64_t width);

}  // namespace usol::io
