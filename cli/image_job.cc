#include "cli/image_job.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "cli/batch_pipeline.h"
#include "cli/journal.h"
#include "cli/progress.h"
#include "cli/provenance.h"
#include "cli/read_ahead.h"
#include "cli/signals.h"
#include "io/json_stream.h"
#include "tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr std::size_t kReadAhead = 3;
constexpr std::size_t kListedFailures = 20;

// A picture read ahead, or what went wrong with it.
struct Loaded {
  std::int64_t index = 0;
  ImageCompute compute;
  std::exception_ptr error;
};

// The text of a picture's failure. Rethrows what is not the picture's fault and would hit every other one too.
std::string failure_text(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kUsage || e.kind() == ErrorKind::kDevice || e.kind() == ErrorKind::kInterrupted) throw;
    return e.what();
  } catch (const std::bad_alloc&) {
    return "out of memory";
  } catch (const std::exception& e) {
    return e.what();
  }
}

// What must be the same for two runs to be parts of one: everything in the output's info but the device and the
// pictures that failed.
Json make_header(const ImageJob& job) {
  Json header = job.info;
  header["inputs"] = {{"images", job.inputs.size()}, {"sha256", job.inputs.digest()}};
  if (job.shard.count > 1) header["shard"] = fmt::format("{}/{}", job.shard.index, job.shard.count);
  return header;
}

std::string record_json(const ImageRecord& record) {
  return fmt::format("[{}{}{}]", record.image, record.annotations.empty() ? "" : ",",
                     fmt::join(record.annotations, ","));
}

class Runner {
 public:
  Runner(const Common& common, ImageJob& job)
      : common_(common),
        job_(job),
        journal_path_(job.output + ".journal"),
        header_(make_header(job)),
        device_(device_model(common.device())),
        first_(job.shard.first(job.inputs.size())),
        last_(job.shard.last(job.inputs.size())) {}

  int run() {
    if (common_.dry_run) return dry_run();
    if (common_.resume && !common_.force && fs::exists(job_.output) && !fs::exists(journal_path_)) {
      return confirm_finished();
    }
    std::optional<Journal> journal(open_journal());
    journal->append_device(device_);
    const int signal = work(*journal);
    journal->sync();
    if (signal != 0) {
      common_.note("stopped by signal {}; {} of {} images are done: --resume continues", signal, journal->records(),
                   last_ - first_);
      return 128 + signal;
    }
    assemble(*journal);
    list_failures();
    if (!failures_.empty()) return kSomeInputsFailed;
    journal.reset();
    fs::remove(journal_path_);
    return kSuccess;
  }

 private:
  int confirm_finished() {
    Json info = read_info(job_.output);
    if (info.is_null()) info = Json::object();
    for (const char* key : {"device", "failed"}) info.erase(key);
    const std::string changed = describe_differences(info, header_);
    check(changed.empty(), ErrorKind::kUsage, "--resume: {} was made with other settings ({}); --force replaces it",
          job_.output, changed);
    common_.note("{} is finished already", job_.output);
    return kSuccess;
  }

  Journal open_journal() {
    check(!fs::is_directory(job_.output), ErrorKind::kUsage, "{} is a folder; give the name of a file", job_.output);
    if (common_.force) {
      for (const auto& path : {fs::path(job_.output), fs::path(journal_path_)}) fs::remove(path);
    }
    const bool has_journal = fs::exists(journal_path_);
    if (!common_.resume) {
      check(!has_journal, ErrorKind::kUsage,
            "{} exists: another run is at work or was interrupted; --resume continues it, --force starts anew",
            journal_path_);
      check(!fs::exists(job_.output), ErrorKind::kUsage, "{} exists; --force replaces it", job_.output);
    }
    if (const auto folder = fs::path(job_.output).parent_path(); !folder.empty()) {
      std::error_code error;
      fs::create_directories(folder, error);
      check(!error, ErrorKind::kIo, "{}: cannot be made: {}", folder.string(), error.message());
    }
    remove_leftovers();
    if (!has_journal) return Journal::create(journal_path_, header_, first_, last_);
    return Journal::resume(journal_path_, header_, first_, last_,
                           [&](const std::string& text) { common_.warn("{}", text); });
  }

  // A run that was killed while it assembled the output has left an unfinished copy of it (io/atomic_file.h).
  void remove_leftovers() const {
    const fs::path output = job_.output;
    const std::string start = fmt::format(".{}.", output.filename().string());
    std::vector<fs::path> leftovers;
    for (const auto& entry : fs::directory_iterator(output.has_parent_path() ? output.parent_path() : fs::path("."))) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(start) && name.ends_with(".tmp")) leftovers.push_back(entry.path());
    }
    for (const auto& path : leftovers) fs::remove(path);
  }

  // Does what the journal lacks; returns the signal that stopped it, or 0.
  int work(Journal& journal) {
    std::vector<std::int64_t> todo;
    for (std::int64_t i = first_; i < last_; ++i) {
      if (!journal.has_record(i)) todo.push_back(i);
    }
    const auto total = last_ - first_;
    const auto done_before = total - static_cast<std::int64_t>(todo.size());
    if (done_before > 0) common_.note("{} of {} images were done before", done_before, total);
    Progress progress(common_, total, "images", done_before);
    const auto record_all = [&](auto&& next) {
      std::size_t left = todo.size();
      while (std::optional<DonePicture> done = next()) {
        const bool good = record(journal, *done);
        progress.step(!good);
        if (--left > 0 && pending_signal() != 0) return pending_signal();
      }
      progress.finish();
      return 0;
    };
    if (job_.batched.batch > 0) {
      BatchPipeline pipeline(job_.batched, job_.inputs, todo);
      return record_all([&] { return pipeline.next(); });
    }
    std::size_t next = 0;
    ReadAhead<Loaded> reader(
        [&]() -> std::optional<Loaded> {
          if (next == todo.size()) return std::nullopt;
          return load(todo[next++]);
        },
        kReadAhead);
    return record_all([&]() -> std::optional<DonePicture> {
      std::optional<Loaded> item = reader.next();
      if (!item) return std::nullopt;
      return compute(*item);
    });
  }

  Loaded load(std::int64_t index) const {
    Loaded loaded;
    loaded.index = index;
    try {
      loaded.compute = job_.load(job_.inputs[index]);
    } catch (...) {
      loaded.error = std::current_exception();
    }
    return loaded;
  }

  static DonePicture compute(const Loaded& item) {
    DonePicture done{item.index, {}, item.error};
    if (done.error) return done;
    try {
      done.result = item.compute();
    } catch (...) {
      done.error = std::current_exception();
    }
    return done;
  }

  // False if the picture failed.
  bool record(Journal& journal, const DonePicture& done) {
    if (done.error) {
      const std::string text = failure_text(done.error);
      journal.append_error(done.index, text);
      failures_.push_back({done.index, text});
      common_.detail("failed: {}: {}", job_.inputs.file_name(done.index), text);
      return false;
    }
    // Files first, then the line that says they are there.
    if (done.result.save) done.result.save();
    journal.append_record(done.index, record_json(done.result.record));
    return true;
  }

  void assemble(const Journal& journal) {
    RecordAssembler assembler(job_.output);
    auto failed = Json::array();
    for (std::int64_t i = first_; i < last_; ++i) {
      if (!journal.has_record(i)) {
        failed.push_back(job_.inputs.file_name(i));
        continue;
      }
      const std::string line = journal.line(i);
      const auto bytes = std::as_bytes(std::span(line));
      JsonSplitter splitter(
          own_bytes({bytes.begin(), bytes.end()}, fmt::format("{}: the record of input {}", journal_path_, i)));
      for (JsonPiece piece; splitter.next(piece);) {
        if (piece.kind != JsonPiece::Kind::kElement) continue;
        if (piece.index == 0) {
          assembler.add_image(piece.text);
        } else {
          assembler.add_annotation(piece.text);
        }
      }
    }
    Json info = header_;
    info["device"] = journal.devices();
    if (!failed.empty()) info["failed"] = std::move(failed);
    assembler.finish(job_.categories, info);
    common_.note("wrote {}: {} images, {} annotations", job_.output, assembler.images(), assembler.annotations());
  }

  void list_failures() const {
    if (failures_.empty()) return;
    common_.warn("{} of {} images failed:", failures_.size(), last_ - first_);
    for (std::size_t i = 0; i < std::min(failures_.size(), kListedFailures); ++i) {
      common_.console->line(fmt::format("  {}: {}", job_.inputs.file_name(failures_[i].index), failures_[i].text));
    }
    if (failures_.size() > kListedFailures) {
      common_.console->line(fmt::format("  and {} more", failures_.size() - kListedFailures));
    }
    common_.console->line(fmt::format("All are in {}; --resume tries them again.", journal_path_));
  }

  // Measures a few pictures spread over the work and scales up.
  int dry_run() {
    using Clock = std::chrono::steady_clock;
    std::int64_t done = 0;
    std::vector<std::int64_t> todo;
    if (common_.resume && fs::exists(journal_path_)) {
      const auto journal = Journal::resume(journal_path_, header_, first_, last_,
                                           [&](const std::string& text) { common_.warn("{}", text); });
      for (std::int64_t i = first_; i < last_; ++i) {
        if (!journal.has_record(i)) todo.push_back(i);
      }
      done = last_ - first_ - static_cast<std::int64_t>(todo.size());
    } else {
      for (std::int64_t i = first_; i < last_; ++i) todo.push_back(i);
    }
    common_.note("would work on {} images{} and write {}", todo.size(),
                 done > 0 ? fmt::format(" ({} are done)", done) : "", job_.output);
    if (fs::exists(job_.output) && !common_.force) common_.note("{} exists: --force would be needed", job_.output);
    const bool batched = job_.batched.batch > 0;
    const auto samples = std::min(todo.size(), batched ? static_cast<std::size_t>(job_.batched.batch) : 4);
    std::vector<std::int64_t> sampled;
    for (std::size_t s = 0; s < samples; ++s) sampled.push_back(todo[s * todo.size() / samples]);
    std::vector<double> seconds;
    double record_bytes = 0, file_bytes = 0;
    std::optional<BatchPipeline> pipeline;
    if (batched) pipeline.emplace(job_.batched, job_.inputs, sampled);
    for (const std::int64_t index : sampled) {
      throw_if_interrupted();
      const auto start = Clock::now();
      const DonePicture picture = batched ? *pipeline->next() : compute(load(index));
      if (picture.error) {
        common_.note("would fail: {}: {}", job_.inputs.file_name(index), failure_text(picture.error));
        continue;
      }
      record_bytes += static_cast<double>(record_json(picture.result.record).size());
      file_bytes += static_cast<double>(picture.result.saved_bytes);
      seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    if (seconds.empty()) return samples > 0 ? kSomeInputsFailed : kSuccess;
    const auto measured = static_cast<double>(seconds.size());
    // The first picture also pays for warming up. Those of a batch have their time together.
    if (seconds.size() > 1 && !batched) seconds.erase(seconds.begin());
    const double per_image = std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
    const auto count = static_cast<double>(todo.size());
    common_.note("time: about {} at {:.3g} s an image, as measured now on this machine",
                 format_duration(per_image * count), per_image);
    common_.note(
        "disk: about {} for {}, the same again for its journal while it runs{}",
        format_bytes(record_bytes / measured * count), job_.output,
        file_bytes > 0 ? fmt::format(", {} for the files beside it", format_bytes(file_bytes / measured * count)) : "");
    return kSuccess;
  }

  struct Failure {
    std::int64_t index;
    std::string text;
  };

  const Common& common_;
  ImageJob& job_;
  std::string journal_path_;
  Json header_;
  std::string device_;
  std::int64_t first_, last_;
  std::vector<Failure> failures_;
};

}  // namespace

void ShardOption::declare(Options& options) {
  options.add("--shard K/N", text, "Do the K-th of N parts only; `usol merge` joins them", OptionKind::kRun);
}

int run_image_job(const Common& common, ImageJob& job) { return Runner(common, job).run(); }

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

void RecordAssembler::finish(const std::vector<CocoCategory>& categories, const Json& info) {
  writer_.finish(categories, info.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace usol
