#pragma once
// The ways in which an image job's pictures are read and computed on a CPU: one after the other, or several at once.

#include <cstdint>
#include <memory>
#include <vector>

#include "usol/pipeline/image_job.h"
#include "usol/pipeline/pictures_at_once.h"

namespace usol {

/// Input `index`, read and computed on this thread. What goes wrong is in the result.
DonePicture do_picture(const ImageJob& job, std::int64_t index);

/// The inputs `todo` one after the other, the next ones being read meanwhile. With `own_thread` a thread computes one
/// while the caller is busy with that before, and before the caller asks for the first; else, as devices want it, the
/// calling thread. The job must outlive what is returned.
std::unique_ptr<PicturesInWork> one_by_one(const ImageJob& job, std::vector<std::int64_t> todo, bool own_thread);

/// Several of them at once as planned, each read and computed on a thread of its own.
std::unique_ptr<PicturesInWork> many_at_once(const ImageJob& job, std::vector<std::int64_t> todo, const AtOnce& plan);

}  // namespace usol
