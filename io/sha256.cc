#include "usol/io/sha256.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::io {

struct Sha256::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> evp{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  check(context_->evp != nullptr && EVP_DigestInit_ex(context_->evp.get(), EVP_sha256(), nullptr) == 1,
        ErrorKind::kUnsupported, "sha256: libcrypto offers no SHA-256");
}
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(context_->evp.get(), bytes.data(), bytes.size()) == 1, ErrorKind::kUnsupported,
        "sha256: libcrypto failed");
}

std::string Sha256::finish() {
  std::array<unsigned char, 32> digest{};
  unsigned length = 0;
  check(EVP_DigestFinal_ex(context_->evp.get(), digest.data(), &length) == 1 && length == digest.size(),
        ErrorKind::kUnsupported, "sha256: libcrypto failed");
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

std::string sha256_file(const std::filesystem::path& path) {
  const FileDescriptor file = open_regular_file(path);
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  Sha256 hash;
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    check(count >= 0, ErrorKind::kIo, "{}: cannot read: {}", path.string(), std::strerror(errno));
    if (count == 0) break;
    hash.update({buffer.data(), static_cast<std::size_t>(count)});
  }
  return hash.finish();
}

}  // namespace usol::io
