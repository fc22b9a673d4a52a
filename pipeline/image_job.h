#pragma once
// The loop of every verb that does something to many pictures: read ahead, compute, save, journal; failures are counted
// and listed, signals stop it cleanly, and the output is assembled from the journal at the end. Processes that were
// started together (mpirun, srun) share the pictures.

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/output_folder.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/pictures_at_once.h"
#include "usol/pipeline/run.h"

namespace usol {

/// What is recorded of a picture: lines of COCO JSON. The ids of annotations are given when the output is assembled.
struct ImageRecord {
  std::string image;                     // coco_image_json()
  std::vector<std::string> annotations;  // coco_annotation_json()
};

struct ImageResult {
  ImageRecord record = {};
  std::function<void()> save = {};  // makes files beside the output durable, beside other pictures'; may be empty
  std::uint64_t saved_bytes = 0;    // about how much that writes
};

/// The second half of the work on one picture.
using ImageCompute = std::function<ImageResult()>;

/// A picture that is done, or what went wrong with it.
struct DonePicture {
  std::int64_t index = 0;  // of the inputs
  ImageResult result = {};
  std::exception_ptr error = {};
};

/// Pictures that are worked on many at a time; they come out in the order in which they were asked for.
class PicturesInWork {
 public:
  virtual ~PicturesInWork() = default;
  /// The next picture; nothing after the last.
  virtual std::optional<DonePicture> next() = 0;
};

/// The work on many pictures at once, for a device that gains by it: in_batches() of pipeline/batch_pipeline.h makes
/// it.
struct BatchedJob {
  std::int64_t batch = 0;  // pictures together, at most; 0: there is no such device
  /// Begins with the inputs `todo`, in this order. The inputs must outlive what it returns.
  std::function<std::unique_ptr<PicturesInWork>(const InputList&, std::vector<std::int64_t> todo)> start = {};
};

/// A folder that gets files of each picture.
struct FilesOfImages {
  std::string what;  // "overlays", for error texts
  std::shared_ptr<io::OutputFolder> folder;
  std::string extension;  // of the one file of a picture; empty: there are several, of other names
};

struct ImageJob {
  std::string output;           // the COCO file, or a pipe or device: then no journal is kept
  nlohmann::ordered_json info;  // make_info()
  /// Puts into `info` what takes time to know. Called once, on the calling thread, while the first pictures of a new
  /// run are in work; before anything is saved. May be empty.
  std::function<void(nlohmann::ordered_json& info)> complete_info = {};
  InputList inputs;
  std::vector<std::string> reads;                          // what is read beside the pictures
  std::vector<std::pair<std::string, std::string>> files;  // what is written at the end, too: {"times", path}
  std::vector<FilesOfImages> folders;
  Shard shard;
  std::vector<io::CocoCategory> categories;
  /// Reads a picture, on a thread of its own while others are computed. What it throws, and what the returned function
  /// throws, is this picture's failure (but for errors of the device and of usage); what `save` throws ends the job.
  std::function<ImageCompute(const InputImage&)> load;
  /// Of one picture, for pictures_at_once(): several are then read and computed at the same time, by `load` and what it
  /// returns on several threads. Not set, or not on a CPU: one after the other.
  std::optional<PictureCost> cost = {};
  /// Takes the place of `load` if its batch is not 0. Failures are taken as above. However pictures are computed, their
  /// `save` is called on threads of a PictureWriter.
  BatchedJob batched = {};

  /// A folder for files of each picture, one of the given extension or, if that is empty, several; null without a path.
  /// `shard` must be set before.
  std::shared_ptr<io::OutputFolder> add_folder(const Run& run, const std::string& what, const std::string& path,
                                               const std::string& extension);
};

/// The setting "shard", K/N.
struct ShardOption {
  std::string text = "1/1";
  void declare(Settings& settings);
};

/// Runs the job and returns a status (pipeline/run.h). An output that exists is an error (kExists), replaced, or gone
/// on with, as run.existing says: failed pictures are tried again then, and the bytes are those of a run that was never
/// disturbed; other settings than the former run's are an error (kOtherSettings). What may be written where is decided
/// before any work, by pipeline/outputs.h. Throws Error(kUsage) for an output that is no regular file where the run
/// goes on or processes share the work: there is no journal then. With run.dry_run it says what would be done and
/// estimates time and space from a few pictures. A shard's output has "shard": "K/N" in its info; `usol merge` joins
/// them. With run.ranks, every process works on its part, the K-th of N, and has a journal, FILE.KofN.journal; one of
/// them writes the output: the bytes that one process would have written. What another number of processes had done is
/// taken over. Every process must call, and gets the same status. Throws Error(kUsage) for a shard with them.
int run_image_job(const Run& run, ImageJob& job);

/// Writes images and annotations (whose ids are replaced by 1, 2, ...) to a COCO file: the last step of a job, and of
/// merge. `info` comes at the end.
class RecordAssembler {
 public:
  RecordAssembler(const std::string& output);
  void add_image(std::string_view json);
  /// Throws Error(kFormat) unless the text starts with an id.
  void add_annotation(std::string_view json);
  void finish(const std::vector<io::CocoCategory>& categories, const nlohmann::ordered_json& info);
  std::int64_t images() const { return images_; }
  std::int64_t annotations() const { return annotations_; }

 private:
  io::CocoWriter writer_;
  std::int64_t images_ = 0, annotations_ = 0;
  std::string line_;
};

}  // namespace usol
