#pragma once
// One HTML page to look through a run's results: the pictures that --overlays wrote, filtered and sorted by score.

#include <filesystem>
#include <string>
#include <vector>

namespace usol {

struct GalleryStep {
  std::string command, what;
};

/// Writes `page`, which shows <overlays>/<name>.jpg for every image of `coco_file` (the first 20000, and says so).
/// `overlays` is relative to the page. `next_steps` are commands to go on with. The page needs no network.
/// Throws Error if the COCO file cannot be read or the page not be written.
void write_gallery(const std::filesystem::path& page, const std::filesystem::path& coco_file,
                   const std::string& overlays, const std::string& title, const std::vector<GalleryStep>& next_steps);

}  // namespace usol
