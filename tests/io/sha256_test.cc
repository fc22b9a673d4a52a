// SHA-256 against the digests published in FIPS 180-4's examples.
#include "usol/io/sha256.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

std::string digest(const std::string& text) { return sha256_hex(std::as_bytes(std::span(text))); }

TEST(Sha256, MatchesThePublishedExamples) {
  EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, AFileInPiecesGivesTheHashOfItsBytes) {
  const test::TempDir dir;
  // One, exactly two and a little more than two read buffers.
  for (const std::size_t size : {std::size_t{0}, std::size_t{1000}, std::size_t{2} << 20, (std::size_t{2} << 20) + 1}) {
    const std::string text(size, 'x');
    std::ofstream(dir / "f", std::ios::binary) << text;
    EXPECT_EQ(sha256_file(dir / "f"), digest(text)) << size;
  }
  EXPECT_THROW(sha256_file(dir / "missing"), Error);
  EXPECT_THROW(sha256_file(dir.path()), Error);
}

}  // namespace
}  // namespace usol::io
