#include "usol/pipeline/vector_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "usol/io/atomic_file.h"
#include "usol/io/output_target.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {

VectorFile::VectorFile(const fs::path& output) {
  const io::OutputTarget target = io::output_target(output);
  fs::path folder = target.is_stream() ? fs::temp_directory_path() : target.path.parent_path();
  if (folder.empty()) folder = ".";
  std::string name = folder / io::hidden_name(target.path.filename().string(), ".XXXXXX.tmp");
  const int descriptor = ::mkostemps(name.data(), 4, O_CLOEXEC);
  check(descriptor >= 0, ErrorKind::kIo, "{}: cannot be made: {}", name, std::strerror(errno));
  ::unlink(name.c_str());
  file_ = std::shared_ptr<std::FILE>(::fdopen(descriptor, "w+b"), [](std::FILE* file) { std::fclose(file); });
}

void VectorFile::add(std::span<const float> rows, std::int64_t dim) {
  if (count_ == 0) dim_ = dim;
  check(dim == dim_ && dim > 0 && static_cast<std::int64_t>(rows.size()) % dim == 0,
        "vectors: expected rows of {} numbers, got {} numbers in rows of {}", dim_, rows.size(), dim);
  const bool written = std::fwrite(rows.data(), sizeof(float), rows.size(), file_.get()) == rows.size();
  check(written, ErrorKind::kIo, "vectors: a temporary file beside the output cannot be written: {}",
        std::strerror(errno));
  count_ += static_cast<std::int64_t>(rows.size()) / dim;
}

maskcut::Rows VectorFile::rows() const {
  const bool flushed = std::fflush(file_.get()) == 0;
  check(flushed, ErrorKind::kIo, "vectors: a temporary file beside the output cannot be written: {}",
        std::strerror(errno));
  return {count_, dim_, [file = file_, dim = dim_](std::int64_t first, std::int64_t count, float* to) {
            char* at = reinterpret_cast<char*>(to);
            std::int64_t left = count * dim * 4, offset = first * dim * 4;
            while (left > 0) {
              const auto got = ::pread(::fileno(file.get()), at, static_cast<std::size_t>(left), offset);
              if (got < 0 && errno == EINTR) continue;
              check(got > 0, ErrorKind::kIo, "vectors: a temporary file beside the output cannot be read: {}",
                    got < 0 ? std::strerror(errno) : "it is too short");
              at += got;
              left -= got;
              offset += got;
            }
          }};
}

}  // namespace usol
