// .npy: files by NumPy (tests/golden/make_npy.py), our own round trips, and malformed headers.
#include "usol/io/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <span>

#include "tests/support/bundle.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using testing::HasSubstr;

std::string error_of(const SharedBytes& file) {
  try {
    parse_npy(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

SharedBytes with_header(const std::string& header, std::size_t data_bytes = 0) {
  std::string text = std::string("\x93NUMPY\1", 7) + '\0' + static_cast<char>(header.size()) + '\0' + header;
  text.resize(text.size() + data_bytes);
  const auto bytes = std::as_bytes(std::span(text));
  return own_bytes({bytes.begin(), bytes.end()}, "bad.npy");
}

TEST(Npy, ReadsWhatNumpyWrites) {
  std::vector<double> counting(24);
  std::iota(counting.begin(), counting.end(), 0);
  int read = 0;
  for (const auto& [name, file] : test::load_bundle("npy.bin")) {
    SCOPED_TRACE(name);
    if (name.starts_with("bad")) {
      EXPECT_THAT(error_of(file), HasSubstr("not supported"));
      continue;
    }
    const Tensor tensor = parse_npy(file);
    const auto values = tensor.to(DType::kF64).to_vector<double>();
    ++read;
    if (name == "scalar") {
      EXPECT_EQ(tensor.shape(), Shape{});
      EXPECT_EQ(values, std::vector<double>{7});
    } else if (name == "vector") {
      EXPECT_EQ(values, (std::vector<double>{0, 1, 2, 3, 4}));
    } else if (name == "empty") {
      EXPECT_EQ(tensor.shape(), (Shape{0, 3}));
    } else if (name == "bool") {
      EXPECT_EQ(tensor.dtype(), DType::kBool);
      for (int i = 0; i < 24; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i % 3 == 0 ? 1 : 0);
    } else {
      EXPECT_EQ(tensor.shape(), (Shape{2, 3, 4}));
      EXPECT_EQ(values, counting);
    }
    const bool narrow = name.ends_with("i1") || name.ends_with("i2") || name.ends_with("u2");
    if (narrow) {
      EXPECT_EQ(tensor.dtype(), DType::kI32);
    }
  }
  EXPECT_EQ(read, 26);
}

TEST(Npy, WritesTheBytesThatNumpyWrites) {
  const auto golden = test::load_bundle("npy.bin");
  const test::TempDir dir;
  const auto expect_same = [&](const std::string& name, const Tensor& tensor) {
    save_npy(dir / "a.npy", tensor);
    const SharedBytes written = map_file(dir / "a.npy");
    const SharedBytes& expected = golden.at(name);
    ASSERT_EQ(written.size(), expected.size()) << name;
    EXPECT_EQ(std::memcmp(written.bytes.data(), expected.bytes.data(), written.size()), 0) << name;
  };
  const Tensor base = Tensor::arange(24, DType::kF32).reshape({2, 3, 4});
  expect_same("<f4", base);
  expect_same("<f2", base.to(DType::kF16));
  expect_same("<f8", base.to(DType::kF64));
  expect_same("<i8", base.to(DType::kI64));
  expect_same("<i4", base.to(DType::kI32));
  expect_same("|u1", base.to(DType::kU8));
  expect_same("vector", Tensor::arange(5, DType::kI32));
  expect_same("scalar", Tensor::full({}, 7));
  expect_same("<f4", base.to(DType::kBF16));                              // NumPy has no bf16
  expect_same("<f4", base.transpose(0, 2).contiguous().transpose(0, 2));  // strides do not matter
}

TEST(Npy, MalformedFilesAreErrors) {
  EXPECT_THAT(error_of(own_bytes({}, "f")), HasSubstr("does not begin"));
  EXPECT_THAT(error_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4)),
              HasSubstr("needs 8 bytes, the file holds 4"));
  EXPECT_THAT(error_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 12)),
              HasSubstr("needs 8 bytes, the file holds 12"));
  EXPECT_THAT(error_of(with_header("{'descr': '<f4', 'fortran_order': False}")), HasSubstr("is missing"));
  EXPECT_THAT(error_of(with_header("{'descr': '<f4', 'descr': '<f4'}")), HasSubstr("repeated key 'descr'"));
  EXPECT_THAT(error_of(with_header("{'fortran_order': 1}")), HasSubstr("header byte 28: expected True or False"));
  EXPECT_THAT(error_of(with_header("{'shape': (-1,)}")), HasSubstr("expected a size"));
  EXPECT_THAT(error_of(with_header("{'shape': (99999999999999999999,)}")), HasSubstr("expected a size"));
  EXPECT_THAT(error_of(with_header("{'shape': __import__('os')}")), HasSubstr("expected '('"));
  EXPECT_THAT(error_of(with_header("{'descr")), HasSubstr("unterminated"));
  EXPECT_THAT(error_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}")),
              HasSubstr("too large"));
  EXPECT_THAT(error_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", 4)),
              HasSubstr("at most 8 dimensions"));
  SharedBytes future = with_header("{}");
  future.bytes[6] = std::byte{9};
  EXPECT_THAT(error_of(future), HasSubstr("got 9.0"));
  SharedBytes longer = with_header("{}");
  longer.bytes[9] = std::byte{1};
  EXPECT_THAT(error_of(longer), HasSubstr("truncated"));
  EXPECT_THROW(load_npy("/nonexistent/a.npy"), Error);
}

TEST(Npy, EveryTruncationOfAFileIsAnError) {
  const SharedBytes whole = test::load_bundle("npy.bin").at("<f4");
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_NE(error_of(whole.slice(0, size)), "no error") << size;
}

}  // namespace
}  // namespace usol::io
