// save_pth: a state dict in PyTorch's zip container, with a pickle of protocol 2 that we write ourselves.

#include <fcntl.h>
#include <unistd.h>
#include <zip.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/io/atomic_file.h"
#include "usol/io/origin.h"
#include "usol/io/pth.h"
#include "usol/io/shared_bytes.h"
#include "usol/io/stored_array.h"
#include "usol/io/utf8.h"
#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

/// Emits the few opcodes a state dict needs. The stack each leaves behind is PyTorch's, without its memo entries
/// but for the two functions that every tensor names.
class PickleWriter {
 public:
  PickleWriter() { out_ = "\x80\x02"; }

  void raw(std::string_view opcodes) { out_ += opcodes; }
  void text(std::string_view value) {
    out_ += 'X';
    number(value.size(), 4);
    out_ += value;
  }
  void integer(std::int64_t value) {
    if (value >= 0 && value < 256) {
      out_ += 'K';
      number(static_cast<std::uint64_t>(value), 1);
    } else if (value >= 0 && value < (std::int64_t{1} << 31)) {
      out_ += 'J';
      number(static_cast<std::uint64_t>(value), 4);
    } else {
      out_ += "\x8a\x08";  // LONG1 of 8 bytes
      number(static_cast<std::uint64_t>(value), 8);
    }
  }
  void tuple(const Shape& shape) {
    out_ += '(';
    for (const std::int64_t size : shape) integer(size);
    out_ += 't';
  }
  /// Pushes a global; the first time it is spelled out, afterwards it comes from the memo.
  void global(std::string_view module, std::string_view name, char memo, bool& known) {
    if (known) {
      out_ += 'h';
      out_ += memo;
      return;
    }
    out_.append("c").append(module).append("\n").append(name).append("\n");
    out_ += 'q';
    out_ += memo;
    known = true;
  }
  const std::string& bytes() const { return out_; }

 private:
  void number(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  std::string out_;
};

std::string_view storage_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "FloatStorage";
    case DType::kF16:
      return "HalfStorage";
    case DType::kBF16:
      return "BFloat16Storage";
    case DType::kF64:
      return "DoubleStorage";
    case DType::kI64:
      return "LongStorage";
    case DType::kI32:
      return "IntStorage";
    case DType::kU8:
      return "ByteStorage";
    case DType::kBool:
      return "BoolStorage";
  }
  fail(ErrorKind::kInvalidArgument, "pth: not a dtype");
}

std::string state_dict_pickle(const std::map<std::string, Tensor>& tensors, const std::string& entry) {
  PickleWriter out;
  bool dict_known = false, rebuild_known = false;
  const auto empty_ordered_dict = [&] {
    out.global("collections", "OrderedDict", 0, dict_known);
    out.raw(")R");
  };
  if (!entry.empty()) {
    out.raw("}");
    out.text(entry);
  }
  empty_ordered_dict();
  out.raw("(");
  std::size_t key = 0;
  for (const auto& [name, tensor] : tensors) {
    out.text(name);
    // _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks), the storage by its persistent id.
    out.global("torch._utils", "_rebuild_tensor_v2", 1, rebuild_known);
    out.raw("((");
    out.text("storage");
    out.raw(fmt::format("ctorch\n{}\n", storage_name(tensor.dtype())));
    out.text(std::to_string(key++));
    out.text("cpu");
    out.integer(tensor.numel());
    out.raw("tQ");
    out.integer(0);
    out.tuple(tensor.shape());
    out.tuple(tensor.shape().row_major_strides());
    out.raw("\x89");
    empty_ordered_dict();
    out.raw("tR");
  }
  out.raw("u");
  if (!entry.empty()) out.raw("s");
  out.raw(".");
  return out.bytes();
}

class ZipWriter {
 public:
  /// Writes to `path`; errors name `name`.
  ZipWriter(const std::filesystem::path& path, std::string name) : name_(std::move(name)) {
    int error = 0;
    archive_ = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &error);
    if (archive_ != nullptr) return;
    zip_error_t text;
    zip_error_init_with_code(&text, error);
    const std::string reason = zip_error_strerror(&text);
    zip_error_fini(&text);
    fail(ErrorKind::kIo, fmt::format("pth: {}: cannot write: {}", name_, reason));
  }
  ~ZipWriter() {
    if (archive_ != nullptr) zip_discard(archive_);
  }
  ZipWriter(const ZipWriter&) = delete;
  ZipWriter& operator=(const ZipWriter&) = delete;

  /// Adds a stored entry. `bytes` must stay valid until close().
  void add(const std::string& entry, std::span<const std::byte> bytes) {
    zip_source_t* source = zip_source_buffer(archive_, bytes.data(), bytes.size(), 0);
    const zip_int64_t index = source != nullptr ? zip_file_add(archive_, entry.c_str(), source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0 && source != nullptr) zip_source_free(source);
    // A fixed date (1 January 1980) makes equal content equal bytes.
    const bool added = index >= 0 &&
                       zip_set_file_compression(archive_, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0) == 0 &&
                       zip_file_set_dostime(archive_, static_cast<zip_uint64_t>(index), 0, 0x21, 0) == 0;
    check(added, ErrorKind::kIo, "pth: {}: {}: {}", name_, entry, zip_strerror(archive_));
  }
  void close() {
    zip_set_archive_comment(archive_, kZipComment.data(), static_cast<zip_uint16_t>(kZipComment.size()));
    const bool closed = zip_close(archive_) == 0;  // first: what it says is an argument
    check(closed, ErrorKind::kIo, "pth: {}: cannot write: {}", name_, closed ? "" : reason());
    archive_ = nullptr;
  }

 private:
  // "No space left on device" rather than "Write error: No space left on device".
  std::string reason() const {
    const zip_error_t* error = zip_get_error(archive_);
    const int system = zip_error_code_system(error);
    return zip_error_system_type(error) == ZIP_ET_SYS && system != 0 ? std::strerror(system) : zip_strerror(archive_);
  }
  std::string name_;
  zip_t* archive_ = nullptr;
};

/// A file in the folder for temporary ones, removed at the end; none unless it is `wanted`.
class ScratchFile {
 public:
  explicit ScratchFile(bool wanted) {
    if (!wanted) return;
    std::string name = std::filesystem::temp_directory_path() / "usol.XXXXXX.tmp";
    const FileDescriptor file(::mkostemps(name.data(), 4, O_CLOEXEC));
    check(file.get() >= 0, ErrorKind::kIo, "{}: cannot write: {}", name, std::strerror(errno));
    path_ = name;
  }
  ~ScratchFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

void save_pth(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
              const std::string& entry) {
  std::vector<Tensor> dense;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined(), "pth: {}: tensor '{}' is undefined", path.string(), name);
    check(is_utf8(name), "pth: {}: the name of a tensor is no UTF-8", path.string());
    dense.push_back(storable(tensor));
  }
  check(is_utf8(entry), "pth: {}: the entry's name is no UTF-8", path.string());
  const std::string pickle = state_dict_pickle(tensors, entry);
  const std::string_view version = "3\n", byteorder = "little";

  AtomicFile file(path);
  // An archive is not written from its beginning to its end, so a pipe gets it from a file that is complete.
  const bool piped = file.temporary().empty();
  const ScratchFile scratch(piped);
  ZipWriter zip(piped ? scratch.path() : file.temporary(), (piped ? scratch.path() : path).string());
  zip.add("archive/data.pkl", std::as_bytes(std::span(pickle)));
  zip.add("archive/byteorder", std::as_bytes(std::span(byteorder)));
  for (std::size_t key = 0; key < dense.size(); ++key)
    zip.add(fmt::format("archive/data/{}", key), bytes_of(dense[key]));
  zip.add("archive/version", std::as_bytes(std::span(version)));
  zip.close();
  if (piped) file.write(map_file(scratch.path()).bytes);
  file.commit();
}

}  // namespace usol::io
