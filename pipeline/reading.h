#pragma once
// What a reader of annotations did with a file, told in one way by every verb.

#include <filesystem>
#include <string>
#include <vector>

#include "usol/io/coco.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/run.h"
#include "usol/train/picture_check.h"

namespace usol {

/// Says what was filled in (a note), and what was changed, left out or looks wrong (a warning), a line a kind. Silent
/// if there is nothing, and in all processes but the one that speaks.
void say_reading(const Run& run, const std::string& file, const io::ReadingReport& report);
void say_reading(const Run& run, const io::AnnotationSet& set);
/// Warns of files that were left out because they are none, and lists them. Silent without any.
void say_left_out(const Run& run, const std::vector<std::filesystem::path>& paths);
/// Of the COCO file that gave the pictures' names.
void say_reading(const Run& run, const InputList& inputs);

/// Warns of pictures that a training could not read: each of the first ones, and how many more.
void say_skipped(const Run& run, const std::vector<train::SkippedPicture>& skipped);

}  // namespace usol
