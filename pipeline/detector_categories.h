#pragma once
// The names of a detector's classes, kept in its weights' metadata: `usol train` writes them, `usol predict` gives them
// to what it finds.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "usol/io/coco.h"

namespace usol {

/// The key of the metadata: a JSON list of {"id", "name", "supercategory"}, in the order of the classes.
inline constexpr const char* kCategoriesKey = "categories";

/// The categories of a training set as that text; classes are the categories by ascending id (train/dataset.h).
std::string categories_text(std::vector<io::CocoCategory> categories);

/// The category of each class. Weights that do not name exactly `classes` categories have 1, 2, ... by the name
/// "class 1", ..., and of one class "fg".
std::vector<io::CocoCategory> detector_categories(const std::map<std::string, std::string>& metadata,
                                                  std::int64_t classes);

}  // namespace usol
