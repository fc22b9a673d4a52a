#include "usol/pipeline/image_job.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "usol/io/atomic_file.h"
#include "usol/io/json_stream.h"
#include "usol/io/json_text.h"
#include "usol/io/output_target.h"
#include "usol/io/utf8.h"
#include "usol/ops/all_reduce.h"
#include "usol/ops/rank_values.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/picture_writer.h"
#include "usol/pipeline/pictures_in_work.h"
#include "usol/pipeline/progress.h"
#include "usol/pipeline/provenance.h"
#include "usol/tensor/allocator.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr std::size_t kListedFailures = 20;

// The text of a picture's failure. Rethrows what is not the picture's fault and would hit every other one too.
std::string failure_text(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    for (const ErrorKind kind : {ErrorKind::kUsage, ErrorKind::kExists, ErrorKind::kOtherSettings, ErrorKind::kDevice,
                                 ErrorKind::kInterrupted})
      if (e.kind() == kind) throw;
    return e.what();
  } catch (const std::bad_alloc&) {
    return "out of memory";
  } catch (const std::exception& e) {
    return e.what();
  }
}

// What must be the same for two runs to be parts of one: everything in the output's info but the device and the
// pictures that failed.
Json make_header(ImageJob& job) {
  if (job.complete_info) job.complete_info(job.info);
  Json header = job.info;
  header["inputs"] = {{"images", job.inputs.size()}, {"sha256", job.inputs.digest()}};
  if (job.shard.count > 1) header["shard"] = fmt::format("{}/{}", job.shard.index, job.shard.count);
  return header;
}

std::string record_json(const ImageRecord& record) {
  return fmt::format("[{}{}{}]", record.image, record.annotations.empty() ? "" : ",",
                     fmt::join(record.annotations, ","));
}

// What one process does, and its journal.
struct Part {
  std::string journal;
  Shard process;             // of those that share the work
  std::int64_t first, last;  // inputs
};

// Where the records of a run wait whose output is a pipe or a device: in the folder for temporary files, and gone with
// the run.
class ScratchJournal {
 public:
  ScratchJournal() {
    std::string name = fs::temp_directory_path() / "usol.XXXXXX";
    const bool made = ::mkdtemp(name.data()) != nullptr;
    check(made, ErrorKind::kIo, "{}: cannot be made: {}", name, std::strerror(errno));
    folder_ = name;
  }
  ~ScratchJournal() {
    std::error_code ignored;
    fs::remove(journal(), ignored);
    fs::remove(folder_, ignored);
  }
  ScratchJournal(const ScratchJournal&) = delete;
  ScratchJournal& operator=(const ScratchJournal&) = delete;
  std::string journal() const { return folder_ / "journal"; }

 private:
  fs::path folder_;
};

// Processes that share the work have a part and a journal each; one of them prepares, and assembles the output from all
// journals.
class Runner {
 public:
  Runner(const Run& run, ImageJob& job)
      : run_(run),
        job_(job),
        scratch_(is_stream_output(job.output) ? std::make_unique<ScratchJournal>() : nullptr),
        device_(device_model(run.device)),
        processes_(run.ranks ? run.ranks->size() : 1),
        own_(part({run.ranks ? run.ranks->rank() + 1 : 1, processes_})) {
    check(processes_ == 1 || job.shard.count == 1, ErrorKind::kUsage,
          "shards are for processes that are started one by one; the {} of mpirun or srun share the work without them",
          processes_);
  }

  int run() {
    check(!scratch_ || (processes_ == 1 && !run_.continues()), ErrorKind::kUsage,
          "{} is no regular file, so no journal is kept of the run: {}", job_.output,
          processes_ == 1 ? "there is nothing to go on with" : "processes cannot share its work");
    if (job_.inputs.ignored() > 0)
      run_.detail("{} files are no pictures by their name and were left out", job_.inputs.ignored());
    if (job_.inputs.written() > 0)
      run_.detail("{} pictures that usol wrote itself were left out", job_.inputs.written());
    if (run_.dry_run) return run_.by_leader([&] { return dry_run(); });
    if (run_.by_leader([&] { return prepare() ? 1 : 0; }) == 0) return kSuccess;
    int signal = 0;
    std::int64_t done = 0;
    {
      Journal journal = resume(own_);
      journal.append_device(device_);
      signal = work(journal);
      journal.sync();
      done = journal.records();
    }
    signal = static_cast<int>(max_over_ranks(signal, run_.ranks));
    done = static_cast<std::int64_t>(sum_over_ranks(static_cast<double>(done), run_.ranks));
    if (signal != 0) {
      run_.note("stopped by signal {}; {} of {} images are done{}", signal, done, total(),
                scratch_ ? ", and nothing was written" : " and kept");
      return 128 + signal;
    }
    return run_.by_leader([&] { return finish(); });
  }

 private:
  // Of the K-th of N processes.
  Part part(const Shard& process) const {
    const auto inputs = job_.inputs.size();
    if (process.count == 1)
      return {scratch_ ? scratch_->journal() : job_.output + ".journal", process, job_.shard.first(inputs),
              job_.shard.last(inputs)};
    return {fmt::format("{}.{}of{}.journal", job_.output, process.index, process.count), process, process.first(inputs),
            process.last(inputs)};
  }

  // Settled when it is first asked for, which may take some time.
  const Json& header() {
    if (header_.is_null()) header_ = make_header(job_);
    return header_;
  }

  Json header_of(const Part& part) {
    Json own = header();
    if (part.process.count > 1) own["shard"] = fmt::format("{}/{}", part.process.index, part.process.count);
    return own;
  }

  std::vector<Part> parts() const {
    std::vector<Part> all;
    for (std::int64_t k = 1; k <= processes_; ++k) all.push_back(part({k, processes_}));
    return all;
  }

  std::int64_t total() const { return job_.shard.last(job_.inputs.size()) - job_.shard.first(job_.inputs.size()); }

  void create(const Part& part) { Journal::create(part.journal, header_of(part), part.first, part.last); }

  Journal resume(const Part& part) {
    return Journal::resume(part.journal, header_of(part), part.first, part.last,
                           [&](const std::string& text) { run_.warn("{}", text); });
  }

  // The parts that have a journal, of however many processes.
  std::vector<Part> begun() const {
    std::vector<Part> found;
    if (scratch_) return found;
    const fs::path output = job_.output;
    const fs::path folder = output.has_parent_path() ? output.parent_path() : fs::path(".");
    if (!fs::is_directory(folder)) return found;  // check_outputs() speaks of a place that is none
    const std::string start = output.filename().string() + ".";
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(start)) continue;
      Shard process;
      std::sscanf(name.c_str() + start.size(), "%" SCNd64 "of%" SCNd64, &process.index, &process.count);
      if (process.index < 1 || process.index > process.count) continue;
      Part candidate = part(process);
      if (fs::path(candidate.journal).filename() == name) found.push_back(std::move(candidate));
    }
    return found;
  }

  static void remove_journals(const std::vector<Part>& parts) {
    for (const Part& part : parts) remove_output(part.journal);
  }

  // All that the run would write, against all that it reads and what is there.
  void check_outputs() const {
    Outputs outputs(run_);
    outputs.reads(job_.inputs);
    outputs.reads(job_.reads);
    outputs.file("out", job_.output);
    for (const auto& [what, path] : job_.files) outputs.file(what, path);
    const std::int64_t first = job_.shard.first(job_.inputs.size());
    for (const FilesOfImages& files : job_.folders) {
      outputs.files(files.what, *files.folder, files.extension.empty() ? 0 : total(), [&](std::int64_t i) {
        return output_path({}, job_.inputs.file_name(first + i), files.extension).generic_string();
      });
    }
  }

  // Before any process begins: afterwards every part has its journal. False if all was done before.
  bool prepare() {
    std::vector<Part> before = scratch_ ? std::vector<Part>() : begun();
    // First of all, since the outputs that such a run has left are there as well.
    check(run_.existing != Existing::kRefuse || before.empty(), ErrorKind::kExists,
          "{} exists: another run is at work or was interrupted", before.empty() ? "" : before.front().journal);
    check_outputs();
    if (scratch_) {
      begin_all();
      create(own_);
      return true;
    }
    if (run_.replaces()) {
      remove_output(job_.output);
      remove_journals(before);
      before.clear();
    } else if (run_.continues() && fs::exists(job_.output) &&
               (before.empty() || !read_info(job_.output).contains("failed"))) {
      confirm_finished();
      remove_journals(before);
      return false;
    }
    make_folder_of(job_.output);
    remove_leftovers();
    if (before.empty() && processes_ == 1) begin_all();
    for (const Part& part : before) resume(part);  // refuses other settings before anything is begun with them
    for (const Part& part : parts())
      if (!fs::exists(part.journal)) create(part);
    take_over(before);
    return true;
  }

  // What another number of processes had done goes into the journals of the present parts.
  void take_over(std::vector<Part> before) {
    const std::vector<Part> present = parts();
    std::erase_if(before, [&](const Part& old) {
      return std::any_of(present.begin(), present.end(), [&](const Part& p) { return p.journal == old.journal; });
    });
    for (const Part& part : present) {
      for (const Part& old : before) {
        if (old.first >= part.last || old.last <= part.first) continue;
        Journal journal = resume(part);
        journal.take_over(resume(old));
        journal.sync();
      }
    }
    remove_journals(before);
  }

  void confirm_finished() {
    Json info = read_info(job_.output);
    if (info.is_null()) info = Json::object();
    for (const char* key : {"device", "failed"}) info.erase(key);
    const std::string changed = describe_differences(info, header());
    check(changed.empty(), ErrorKind::kOtherSettings, "{} was made with other settings ({})", job_.output, changed);
    run_.note("{} is finished already", job_.output);
  }

  // A run that was killed while it assembled the output has left an unfinished copy of it (io/atomic_file.h).
  void remove_leftovers() const { io::remove_temporaries_of(io::output_target(job_.output).path); }

  // Nothing was done before: the first pictures are computed while the header is settled and the journal made.
  void begin_all() {
    std::vector<std::int64_t> todo(static_cast<std::size_t>(own_.last - own_.first));
    std::iota(todo.begin(), todo.end(), own_.first);
    pictures_ = start(todo, plan(todo.size()));
  }

  // Does what the journal lacks; returns the signal that stopped it, or 0.
  int work(Journal& journal) {
    std::vector<std::int64_t> todo;
    for (std::int64_t i = own_.first; i < own_.last; ++i) {
      if (!journal.has_record(i)) todo.push_back(i);
    }
    const auto count = own_.last - own_.first;
    const auto done_before = count - static_cast<std::int64_t>(todo.size());
    if (run_.ranks) run_.note("{} processes share {} images; the first one speaks", processes_, total());
    if (done_before > 0) run_.note("{} of {} images were done before", done_before, count);
    Progress progress(run_, count, "images", done_before);
    if (!pictures_) pictures_ = start(todo, plan(todo.size()));
    const std::unique_ptr<PicturesInWork> pictures = std::move(pictures_);
    // Files first, then the line that says they are there.
    PictureWriter writer([&](const DonePicture& done) { progress.step(!record(journal, done)); });
    std::size_t left = todo.size();
    int signal = 0;
    while (std::optional<DonePicture> done = pictures->next()) {
      const bool is_made = !is_interrupted(*done);
      if (is_made) writer.add(std::move(*done));
      if (!is_made || (--left > 0 && run_.stop_asked() != 0)) {
        signal = run_.stop_asked();
        break;
      }
    }
    writer.finish();
    if (signal != 0) return signal;
    progress.finish();
    run_.detail("tensors took {} at most",
                format_bytes(static_cast<double>(allocator(DeviceType::kCpu).stats().peak_bytes)));
    return 0;
  }

  bool takes_batches() const { return job_.batched.batch > 0; }

  AtOnce plan(std::size_t pictures) const {
    if (takes_batches() || !job_.cost || !run_.device.is_cpu()) return {.pictures = 1, .threads = thread_count()};
    return pictures_at_once(*job_.cost, static_cast<std::int64_t>(pictures), thread_count(), memory_for_pictures());
  }

  std::unique_ptr<PicturesInWork> start(const std::vector<std::int64_t>& todo, const AtOnce& how) const {
    if (takes_batches()) return job_.batched.start(job_.inputs, todo);
    if (how.pictures == 1) return one_by_one(job_, todo, job_.cost && run_.device.is_cpu());
    run_.detail("{} pictures at a time, {} of {} threads and about {} of memory each", how.pictures, how.threads,
                thread_count(), format_bytes(job_.cost->bytes));
    return many_at_once(job_, todo, how);
  }

  // True if a signal has ended a wait of this picture's: it has not failed, it was not made.
  bool is_interrupted(const DonePicture& done) const {
    if (!done.error || run_.stop_asked() == 0) return false;
    try {
      std::rethrow_exception(done.error);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInterrupted;
    } catch (...) {
      return false;
    }
  }

  // False if the picture failed. Its files are on the disk.
  bool record(Journal& journal, const DonePicture& done) {
    if (done.error) {
      const std::string text = failure_text(done.error);
      journal.append_error(done.index, text);
      run_.detail("failed: {}: {}", io::printable(job_.inputs.file_name(done.index)), text);
      return false;
    }
    journal.append_record(done.index, record_json(done.result.record));
    return true;
  }

  // The output, from the journals of all parts. Returns the exit status.
  int finish() {
    RecordAssembler assembler(job_.output);
    auto failed = Json::array();
    std::vector<std::string> texts;  // why the first of them failed
    std::set<std::string> devices;
    for (const Part& part : parts()) {
      const Journal journal = resume(part);
      devices.insert(journal.devices().begin(), journal.devices().end());
      for (std::int64_t i = part.first; i < part.last; ++i) {
        if (journal.has_record(i)) {
          add_record(assembler, journal, i);
          continue;
        }
        check(journal.has_error(i), ErrorKind::kIo, "{}: nothing about {}; do all machines see the same folder?",
              part.journal, job_.inputs.file_name(i));
        const std::string_view name = job_.inputs.file_name(i);
        failed.push_back(io::is_utf8(name) ? std::string(name) : io::printable(name));
        if (texts.size() < kListedFailures) texts.push_back(Json::parse(journal.line(i))["error"]);
      }
    }
    Json info = header();
    info["device"] = fmt::format("{}", fmt::join(devices, "; "));
    if (!failed.empty()) info["failed"] = failed;
    assembler.finish(job_.categories, info);
    run_.note("wrote {}: {} images, {} annotations", job_.output, assembler.images(), assembler.annotations());
    if (failed.empty()) {
      remove_journals(parts());
      return kSuccess;
    }
    list_failures(failed, texts);
    return kSomeInputsFailed;
  }

  static void add_record(RecordAssembler& assembler, const Journal& journal, std::int64_t index) {
    const std::string line = journal.line(index);
    const auto bytes = std::as_bytes(std::span(line));
    io::JsonSplitter splitter(io::own_bytes({bytes.begin(), bytes.end()},
                                            fmt::format("{}: the record of input {}", journal.path().string(), index)));
    for (io::JsonPiece piece; splitter.next(piece);) {
      if (piece.kind != io::JsonPiece::Kind::kElement) continue;
      if (piece.index == 0) {
        assembler.add_image(piece.text);
      } else {
        assembler.add_annotation(piece.text);
      }
    }
  }

  void list_failures(const Json& failed, const std::vector<std::string>& texts) const {
    run_.warn("{} of {} images failed:", failed.size(), total());
    for (std::size_t i = 0; i < texts.size(); ++i)
      run_.list(fmt::format("  {}: {}", io::printable(failed[i].get<std::string>()), texts[i]));
    if (failed.size() > texts.size()) run_.list(fmt::format("  and {} more", failed.size() - texts.size()));
    if (scratch_) return;
    run_.list(fmt::format("All are in {}; a run that goes on tries them again.",
                          processes_ == 1 ? own_.journal : job_.output + ".*.journal"));
  }

  // Measures a few pictures spread over the work and scales up.
  int dry_run() {
    using Clock = std::chrono::steady_clock;
    std::set<std::int64_t> done;
    if (run_.continues()) {
      for (const Part& part : begun()) {
        const Journal journal = resume(part);
        for (std::int64_t i = part.first; i < part.last; ++i)
          if (journal.has_record(i)) done.insert(i);
      }
    }
    std::vector<std::int64_t> todo;
    for (std::int64_t i = own_.first; i < own_.last; ++i)
      if (!done.contains(i)) todo.push_back(i);
    run_.note("would work on {} images{} and write {}", total() - static_cast<std::int64_t>(done.size()),
              done.empty() ? "" : fmt::format(" ({} are done)", done.size()), job_.output);
    if (run_.ranks) run_.note("{} processes share them; what follows is the first one's part", processes_);
    check_outputs();
    const AtOnce how = plan(todo.size());
    const bool together = takes_batches() || how.pictures > 1;
    const std::int64_t wanted = takes_batches() ? job_.batched.batch : std::max(4, 2 * how.pictures);
    const auto samples = std::min(todo.size(), static_cast<std::size_t>(wanted));
    std::vector<std::int64_t> sampled;
    for (std::size_t s = 0; s < samples; ++s) sampled.push_back(todo[s * todo.size() / samples]);
    std::vector<double> seconds;
    double record_bytes = 0, file_bytes = 0;
    std::unique_ptr<PicturesInWork> in_work;
    if (together) in_work = start(sampled, how);
    for (const std::int64_t index : sampled) {
      run_.throw_if_stopped();
      const auto start = Clock::now();
      const DonePicture picture = together ? *in_work->next() : do_picture(job_, index);
      if (picture.error) {
        run_.note("would fail: {}: {}", io::printable(job_.inputs.file_name(index)), failure_text(picture.error));
        continue;
      }
      record_bytes += static_cast<double>(record_json(picture.result.record).size());
      file_bytes += static_cast<double>(picture.result.saved_bytes);
      seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    if (seconds.empty()) return samples > 0 ? kSomeInputsFailed : kSuccess;
    const auto measured = static_cast<double>(seconds.size());
    // The first picture also pays for warming up. Those that are in work together have their time together.
    if (seconds.size() > 1 && !together) seconds.erase(seconds.begin());
    const double per_image = std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
    const auto count = static_cast<double>(todo.size());
    run_.note("time: about {} at {:.3g} s an image, as measured now on this machine",
              format_duration(per_image * count), per_image);
    run_.note(
        "disk: about {} for {}, the same again for its journal while it runs{}",
        format_bytes(record_bytes / measured * count), job_.output,
        file_bytes > 0 ? fmt::format(", {} for the files beside it", format_bytes(file_bytes / measured * count)) : "");
    return kSuccess;
  }

  const Run& run_;
  ImageJob& job_;
  Json header_;
  std::unique_ptr<ScratchJournal> scratch_;  // of an output that is no file
  std::string device_;
  std::int64_t processes_;                    // that share the work
  Part own_;                                  // this one's
  std::unique_ptr<PicturesInWork> pictures_;  // begun before the journal
};

}  // namespace

void ShardOption::declare(Settings& settings) {
  settings.add("shard K/N", text, "Do the K-th of N parts only; `usol merge` joins them", OptionKind::kRun);
}

std::shared_ptr<io::OutputFolder> ImageJob::add_folder(const Run& run, const std::string& what, const std::string& path,
                                                       const std::string& extension) {
  if (path.empty()) return nullptr;
  const std::int64_t ranks = run.ranks ? run.ranks->size() : 1;
  const Shard part = ranks > 1 ? Shard{run.ranks->rank() + 1, ranks} : shard;
  folders.push_back(
      {what,
       std::make_shared<io::OutputFolder>(path, part.count == 1 ? "" : fmt::format("{}of{}", part.index, part.count)),
       extension});
  return folders.back().folder;
}

int run_image_job(const Run& run, ImageJob& job) {
  job.output = named_output(job.output);
  return Runner(run, job).run();
}

RecordAssembler::RecordAssembler(const std::string& output) : writer_(output) {}

void RecordAssembler::add_image(std::string_view json) {
  writer_.add_image_json(json);
  ++images_;
}

void RecordAssembler::add_annotation(std::string_view json) {
  constexpr std::string_view kStart = "{\"id\": ";
  const auto comma = json.find(',');
  check(json.starts_with(kStart) && comma != std::string_view::npos, ErrorKind::kFormat,
        "annotation without a leading id: {}", json.substr(0, 60));
  line_.assign(kStart);
  line_ += std::to_string(++annotations_);
  line_ += json.substr(comma);
  writer_.add_annotation_json(line_);
}

void RecordAssembler::finish(const std::vector<io::CocoCategory>& categories, const Json& info) {
  writer_.finish(categories, io::json_text(info));
}

}  // namespace usol
