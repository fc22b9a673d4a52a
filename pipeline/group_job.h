#pragma once
// Objects of any verb -> groups of objects that look alike: each is described by features pooled over its mask, by the
// class token of its crop, or both, and the descriptions are clustered. The last arrow of the pipeline; naming the
// groups (pipeline/name_groups.h) makes categories of them.

#include <cstdint>
#include <string>

#include "usol/maskcut/groups/find_groups.h"
#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

/// Where the results go.
struct GroupOutputs {
  std::string coco;          // the COCO file of the groups
  std::string vectors = {};  // the folder of the descriptions, which another grouping takes as they are; empty:
                             // coco + ".vectors"

  void declare(Settings& settings);
};

struct GroupJob {
  std::string objects;     // COCO file, or a list of results
  std::string image_list;  // COCO file that names the images of a list of results; empty: `objects` does
  std::string image_root;  // the folder of the pictures
  PictureOptions pictures;
  FeatureOptions features;
  std::string describe = "mask";  // by what: "mask", "crop" or "both"
  std::int64_t crop_px = 224;     // shorter side of a crop, as the network sees it
  std::string method = "kmeans";  // or "agglomerate"
  maskcut::GroupOptions groups;   // its `how` is what `method` says, its seed the run's

  /// Declares everything but `objects` and where the results go.
  void declare(Settings& settings);
  /// Describes the objects, picture by picture: outputs.vectors gets a file for each picture that has any, tensors
  /// "records" i64 [n] (positions in the file of objects) and "vectors" f32 [n, D], and a list, vectors.json. What is
  /// there already of the same settings is taken as it is, whatever run.existing says. Then one process groups them and
  /// writes outputs.coco: the images, and the objects with "group" (1 is the largest; 0 of those in none), "similarity"
  /// and "margin" (FoundGroups) beside their own fields. Their categories are the groups, "group 1" ..., by number, and
  /// after them "other" (eval::kNoGroup). Objects of pictures that failed are left out. Returns a status, and throws,
  /// as run_image_job(), FeatureOptions::open() and read_coco(); Error(kUsage) for crops where features have no class
  /// token.
  ///
  /// Memory, for N objects of D numbers: the annotations (some 150 bytes and the mask's runs each), 56 bytes an object,
  /// and what find_groups() needs; the descriptions wait in a file of 4 N D bytes beside the output.
  int run(const Run& run, const GroupOutputs& outputs) const;

 private:
  void declare_description(Settings& settings);
  friend struct GroupDescription;
};

}  // namespace usol
