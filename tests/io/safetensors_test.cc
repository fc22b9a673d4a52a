// safetensors: round trips of every dtype, and each way a header can lie.
#include "usol/io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

SharedBytes file_of(const std::string& header, std::size_t data_bytes, std::uint64_t claimed) {
  std::vector<std::byte> bytes(8 + header.size() + data_bytes, std::byte{0});
  std::memcpy(bytes.data(), &claimed, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return own_bytes(std::move(bytes), "bad.safetensors");
}

std::string error_of(const std::string& header, std::size_t data_bytes) {
  try {
    parse_safetensors(file_of(header, data_bytes, header.size()));
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Safetensors, RoundTripsEveryDtypeStridesAndMetadata) {
  const test::TempDir dir;
  std::map<std::string, Tensor> tensors;
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64, DType::kI32, DType::kU8}) {
    tensors["t/" + to_string(dtype)] = Tensor::arange(6, dtype).reshape({2, 3});
  }
  tensors["bool"] = Tensor::from<bool>({true, false, true}, {3});
  tensors["scalar"] = Tensor::full({}, 2.5);
  tensors["empty"] = Tensor::empty({0, 4});
  tensors["view \"q\" \xc3\xa9"] = Tensor::arange(6, DType::kI32).reshape({2, 3}).transpose(0, 1);
  save_safetensors(dir / "a.safetensors", tensors, {{"format", "pt"}, {"note", "a\nb"}});
  const auto back = read_safetensors(dir / "a.safetensors");
  ASSERT_EQ(back.tensors.size(), tensors.size());
  EXPECT_EQ(back.metadata.at("note"), "a\nb");
  for (const auto& [name, tensor] : tensors) {
    const Tensor& read = back.tensors.at(name);
    EXPECT_EQ(read.dtype(), tensor.dtype()) << name;
    EXPECT_EQ(read.shape(), tensor.shape()) << name;
    EXPECT_EQ(read.to(DType::kF64).to_vector<double>(), tensor.to(DType::kF64).to_vector<double>()) << name;
  }
  save_safetensors(dir / "b.safetensors", back.tensors, back.metadata);
  EXPECT_EQ(read_file(dir / "a.safetensors"), read_file(dir / "b.safetensors"));
}

TEST(Safetensors, TensorsOutliveTheCallAndWritingToThemChangesNoFile) {
  const test::TempDir dir;
  save_safetensors(dir / "a.safetensors", {{"x", Tensor::arange(4, DType::kF32)}});
  Tensor x = load_safetensors(dir / "a.safetensors").at("x");
  x.fill(7);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{7, 7, 7, 7}));
  EXPECT_EQ(load_safetensors(dir / "a.safetensors").at("x").to_vector<float>(), (std::vector<float>{0, 1, 2, 3}));
}

TEST(Safetensors, NarrowIntegersAreWidened) {
  const std::string header = R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                             R"("b":{"dtype":"U32","shape":[1],"data_offsets":[2,6]}})";
  SharedBytes file = file_of(header, 6, header.size());
  for (std::size_t i = 0; i < 6; ++i) file.bytes[8 + header.size() + i] = std::byte{0xff};
  const auto tensors = parse_safetensors(file).tensors;
  EXPECT_EQ(tensors.at("a").to_vector<std::int32_t>(), (std::vector<std::int32_t>{-1, -1}));
  EXPECT_EQ(tensors.at("b").to_vector<std::int64_t>(), (std::vector<std::int64_t>{4294967295}));
}

TEST(Safetensors, MalformedFilesAreErrorsThatNameTheFileAndThePlace) {
  EXPECT_NE(error_of("{", 0).find("no valid JSON"), std::string::npos);
  EXPECT_NE(error_of("[]", 0).find("does not begin"), std::string::npos);
  EXPECT_NE(error_of(R"({"a":1})", 0).find("tensor 'a': expected exactly"), std::string::npos);
  EXPECT_NE(
      error_of(R"({"a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}})", 1).find("F8_E5M2 is not supported"),
      std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4).find("-1 in shape"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,4]}})", 4).find("2.5 in shape"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4).find("do not span the 8 bytes"),
            std::string::npos);
  EXPECT_NE(
      error_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0).find("too large"),
      std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 2).find("truncated"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8).find("4 bytes after"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                     R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                     4)
                .find("overlap"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8).find("a gap"), std::string::npos);
  EXPECT_NE(error_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                     R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                     1)
                .find("'a' occurs twice"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"__metadata__":{"a":1}})", 0).find("'a' is no string"), std::string::npos);
  EXPECT_NE(error_of(std::string(100000, '[').insert(0, "{\"a\":"), 0).find("no valid JSON"), std::string::npos);
  EXPECT_THROW(parse_safetensors(file_of("{}", 0, 3)), Error);
  EXPECT_THROW(parse_safetensors(file_of("{}", 0, UINT64_MAX)), Error);
  EXPECT_THROW(parse_safetensors(own_bytes(std::vector<std::byte>(7), "short")), Error);
  EXPECT_THROW(load_safetensors("/nonexistent/file.safetensors"), Error);
  EXPECT_THROW(load_safetensors(std::filesystem::temp_directory_path()), Error);
}

TEST(Safetensors, ABoolThatIsNeitherZeroNorOneIsAnError) {
  const std::string header = R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})";
  SharedBytes file = file_of(header, 2, header.size());
  file.bytes.back() = std::byte{7};
  try {
    parse_safetensors(file);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("element 1 is 7"), std::string::npos) << error.what();
  }
}

TEST(Safetensors, AFailedWriteLeavesTheOldFileAndNoLeftovers) {
  const test::TempDir dir;
  save_safetensors(dir / "a.safetensors", {{"x", Tensor::arange(4, DType::kF32)}});
  EXPECT_THROW(save_safetensors(dir / "a.safetensors", {{"x", Tensor()}}), Error);
  EXPECT_THROW(save_safetensors(dir / "a.safetensors", {{"\xff", Tensor::zeros({1})}}), Error);
  EXPECT_THROW(save_safetensors(dir / "missing/a.safetensors", {}), Error);
  EXPECT_EQ(load_safetensors(dir / "a.safetensors").at("x").numel(), 4);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

}  // namespace
}  // namespace usol::io
