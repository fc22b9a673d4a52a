#pragma once
// The outputs of the shards 1/N ... N/N of one run -> the one file that a single run would have written.

#include <string>
#include <vector>

#include "usol/pipeline/run.h"

namespace usol {

/// Checks that `shards` (COCO files of run_image_job(), in any order) are all parts of one run, writes their images and
/// annotations to the COCO file `out`, byte for byte as that run would have without shards, and returns kSuccess. An
/// `out` that exists is an error (kExists) unless run.existing is another than kRefuse: it is always made anew. With
/// run.dry_run it says what would be done. Throws Error(kUsage) for files that are missing or no shards, for shards
/// that are missing, given twice or parts of different runs, and for an output that is an input; Error(kFormat) for
/// malformed files; and Error(kInterrupted) when asked to stop.
int merge_shards(const Run& run, const std::vector<std::string>& shards, const std::string& out);

}  // namespace usol
