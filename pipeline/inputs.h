#pragma once
// The pictures a verb works on: files, folders, globs, lists and COCO files on the command line -> one list with ids
// and names. Every verb that reads pictures starts here.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "usol/io/reading_report.h"
#include "usol/pipeline/settings.h"

namespace usol {

struct InputImage {
  std::int64_t id = 0;
  std::string file_name;       // as recorded in annotations: relative, '/' between folders; of a COCO file as it has it
  std::filesystem::path path;  // where it is read
};

/// A million inputs in some 60 bytes each: names are kept in one string.
class InputList {
 public:
  std::int64_t size() const { return static_cast<std::int64_t>(entries_.size()); }
  InputImage operator[](std::int64_t index) const;
  std::string_view file_name(std::int64_t index) const;
  std::int64_t id(std::int64_t index) const { return entries_[static_cast<std::size_t>(index)].id; }
  /// SHA-256 over ids and names, in order: two lists with the same digest name the same work.
  std::string digest() const;
  /// Files in the given folders that are no pictures by their name, and were left out.
  std::int64_t ignored() const { return ignored_; }
  /// The COCO file that gave the list, if one did, and what its reader changed.
  const std::string& annotation_file() const { return annotation_file_; }
  const io::ReadingReport& report() const { return report_; }
  /// Pictures in the given folders that usol wrote there (io/output_folder.h), and were left out.
  std::int64_t written() const { return written_; }

 private:
  friend class InputCollector;
  struct Entry {
    std::int64_t id;
    std::uint64_t name, name_size;  // in names_
    std::uint32_t root;             // in roots_
  };

  std::string names_;
  std::vector<std::filesystem::path> roots_;
  std::vector<Entry> entries_;
  std::int64_t ignored_ = 0, written_ = 0;
  std::string annotation_file_;
  io::ReadingReport report_;
};

/// The picture, whose name is to stand in annotations. Throws Error(kFormat) if it is not UTF-8: JSON cannot hold it.
InputImage nameable_picture(const InputList& inputs, std::int64_t index);

/// The options that name inputs. Declares "input" and "image-root".
struct InputOptions {
  std::vector<std::string> inputs;
  std::string image_root;

  void declare(Settings& settings);
  /// Collects the list. Each input is
  /// - a picture: its name is the last part of its path;
  /// - a folder: all pictures in it and below, named relative to it; hidden files and folders are left out, and so is
  ///   what usol itself wrote there;
  /// - a pattern with * ? [ ]: what it matches, named relative to the folder before the first pattern character;
  /// - NAME.txt: one path a line, relative to the list's folder, '#' lines left out;
  /// - NAME.json: the images of a COCO file, with their ids (numbers in the place of text, see id_from_text());
  ///   their file_name is looked up under image_root (see picture_path()).
  /// With image_root, names are relative to it in every case.
  /// Without a COCO file, ids count from 1 in natural order of the names (img2 before img10).
  /// Throws Error(kUsage) if there is nothing, an input is missing, names clash, or a COCO file comes without
  /// image_root or together with other inputs, and what read_coco() throws.
  InputList collect() const;
  /// The one folder that names are relative to: image_root, or else the only input if it is a folder. May be empty.
  std::filesystem::path picture_folder() const;
};

/// Output file of an image: folder / name without its extension + extension.
std::filesystem::path output_path(const std::filesystem::path& folder, std::string_view file_name,
                                  std::string_view extension);
/// Throws Error(kUsage) naming both inputs if two of them have one output_path, or if a name leaves the folder ("..").
void check_output_paths(const InputList& inputs);

/// True if `a` comes before `b` where runs of digits compare as numbers; ties are broken by bytes.
bool natural_less(std::string_view a, std::string_view b);

/// The shard K/N: the K-th (from 1) of N contiguous parts of [0, count).
struct Shard {
  std::int64_t index = 1, count = 1;

  /// Parses "K/N". Throws Error(kUsage).
  static Shard parse(const std::string& text);
  std::int64_t first(std::int64_t total) const;
  std::int64_t last(std::int64_t total) const;  // one past
};

}  // namespace usol
