// Files of weights by PyTorch (old and new), NumPy and attackers (tests/golden/make_weights.py), and our own writers.
#include "usol/io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>

#include "tests/support/bundle.h"
#include "tests/support/temp_dir.h"
#include "usol/io/pth.h"
#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/io/stored_array.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kBundles[] = {"weights_1.13.1.bin", "weights_2.15.0.bin"};

std::string error_of(const SharedBytes& file, const CheckpointOptions& options = {}) {
  try {
    parse_checkpoint(file, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_equal(const std::map<std::string, Tensor>& actual, const std::map<std::string, Tensor>& expected) {
  std::vector<std::string> names, expected_names;
  for (const auto& item : actual) names.push_back(item.first);
  for (const auto& item : expected) expected_names.push_back(item.first);
  ASSERT_EQ(names, expected_names);
  for (const auto& [name, tensor] : expected) {
    const Tensor read = storable(actual.at(name));
    ASSERT_EQ(read.dtype(), tensor.dtype()) << name;
    ASSERT_EQ(read.shape(), tensor.shape()) << name;
    const auto a = bytes_of(read), b = bytes_of(tensor);
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << name;
  }
}

/// The entries of a zip archive, all of which must be stored.
std::map<std::string, std::vector<std::byte>> stored_entries(const std::filesystem::path& path) {
  std::map<std::string, std::vector<std::byte>> entries;
  zip_t* archive = zip_open(path.c_str(), ZIP_RDONLY, nullptr);
  if (archive == nullptr) return entries;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); ++i) {
    zip_stat_t status;
    zip_stat_index(archive, static_cast<zip_uint64_t>(i), 0, &status);
    EXPECT_EQ(status.comp_method, ZIP_CM_STORE) << status.name;
    std::vector<std::byte>& bytes = entries[status.name];
    bytes.resize(status.size);
    zip_file_t* file = zip_fopen_index(archive, static_cast<zip_uint64_t>(i), 0);
    EXPECT_EQ(zip_fread(file, bytes.data(), bytes.size()), static_cast<zip_int64_t>(bytes.size())) << status.name;
    zip_fclose(file);
  }
  zip_discard(archive);
  return entries;
}

TEST(Checkpoint, ReadsWhatPyTorchAndNumpyWrite) {
  int read = 0;
  for (const char* bundle : kBundles) {
    const auto files = test::load_bundle(bundle);
    for (const auto& [name, file] : files) {
      const auto expected = files.find(name + ".expected");
      if (expected == files.end()) continue;
      SCOPED_TRACE(std::string(bundle) + ": " + name);
      Checkpoint checkpoint;
      ASSERT_NO_THROW(checkpoint = parse_checkpoint(file));
      expect_equal(checkpoint.tensors, parse_safetensors(expected->second).tensors);
      const std::string format = name.starts_with("zip")      ? "PyTorch zip"
                                 : name.starts_with("legacy") ? "PyTorch legacy"
                                                              : "pickle";
      EXPECT_EQ(checkpoint.format, format);
      ++read;
    }
  }
  EXPECT_EQ(read, 69);
}

TEST(Checkpoint, RefusesBrokenAndHostileFilesWithTheReason) {
  int refused = 0;
  for (const char* bundle : kBundles) {
    const auto files = test::load_bundle(bundle);
    for (const auto& [name, file] : files) {
      const auto expected = files.find(name + ".error");
      if (expected == files.end()) continue;
      SCOPED_TRACE(std::string(bundle) + ": " + name);
      const auto bytes = expected->second.bytes;
      EXPECT_THAT(error_of(file), HasSubstr(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
      ++refused;
    }
  }
  EXPECT_EQ(refused, 165);
}

TEST(Checkpoint, EveryTruncationOfAFileIsAnError) {
  for (const char* bundle : kBundles) {
    const auto files = test::load_bundle(bundle);
    for (const char* name : {"zip dtypes", "legacy dtypes", "pickle protocol 0", "pickle protocol 4"}) {
      const SharedBytes& whole = files.at(name);
      for (std::size_t size = 0; size < whole.size(); ++size) {
        ASSERT_NE(error_of(whole.slice(0, size)), "no error") << name << " cut after " << size;
      }
    }
  }
}

TEST(Checkpoint, EveryFlippedByteIsReadOrRefusedButNeverCrashes) {
  const auto files = test::load_bundle(kBundles[1]);
  for (const char* name : {"zip views", "legacy views", "pickle protocol 2", "pickle protocol 5"}) {
    const SharedBytes& whole = files.at(name);
    std::vector<std::byte> bytes(whole.bytes.begin(), whole.bytes.end());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      std::vector<std::byte> changed = bytes;
      changed[i] ^= std::byte{static_cast<unsigned char>(1u << (i % 8))};
      static_cast<void>(error_of(own_bytes(std::move(changed), name)));
    }
  }
}

TEST(Checkpoint, TellsWhereTheTensorsWereAndWhatStoodBeside) {
  const auto files = test::load_bundle(kBundles[0]);
  const Checkpoint dino = parse_checkpoint(files.at("zip dino full"));
  EXPECT_EQ(dino.entry, "teacher");
  EXPECT_EQ(dino.metadata.at("epoch"), "100");
  EXPECT_EQ(dino.metadata.at("args.arch"), "vit_small");
  EXPECT_EQ(dino.metadata.at("args.lr"), "0.0005");
  EXPECT_EQ(dino.metadata.at("args.use_fp16"), "True");
  EXPECT_THAT(dino.applied, ElementsAre(HasSubstr("prefix 'backbone.' removed")));
  EXPECT_THAT(dino.left_out, testing::IsSupersetOf({"student", "optimizer", "dino_loss", "head.mlp.0.weight"}));

  const Checkpoint moco = parse_checkpoint(files.at("legacy moco"));
  EXPECT_EQ(moco.entry, "state_dict");
  EXPECT_THAT(moco.applied, ElementsAre("prefix 'module.' removed", HasSubstr("prefix 'encoder_q.' removed")));
  EXPECT_THAT(moco.left_out, testing::IsSupersetOf({"queue", "encoder_k.conv1.weight"}));

  const Checkpoint detector = parse_checkpoint(files.at("zip detectron2"));
  EXPECT_EQ(detector.entry, "model");
  EXPECT_EQ(detector.metadata.at("iteration"), "9");
  EXPECT_TRUE(detector.applied.empty());
  EXPECT_EQ(parse_checkpoint(files.at("pickle protocol 2")).metadata.at("matching_heuristics"), "True");
}

TEST(Checkpoint, AnEntryCanBeChosenAndNamesKept) {
  const SharedBytes file = test::load_bundle(kBundles[1]).at("legacy dino full");
  const Checkpoint teacher = parse_checkpoint(file), student = parse_checkpoint(file, {"student", true});
  EXPECT_EQ(student.entry, "student");
  EXPECT_EQ(student.tensors.at("norm.bias").to_vector<float>()[0],
            teacher.tensors.at("norm.bias").to_vector<float>()[0] + 1);
  EXPECT_TRUE(parse_checkpoint(file, {"student", false}).tensors.contains("module.backbone.norm.bias"));
  EXPECT_THAT(error_of(file, {"ema", true}),
              HasSubstr("no entry 'ema' with tensors; the file holds {student, teacher"));
}

TEST(Checkpoint, ObjectsOfOtherProgramsStandBesideTheTensors) {
  int read = 0;
  for (const auto& [name, file] : test::load_bundle("foreign_pickles.bin")) {
    if (name.starts_with("bad ") || name.starts_with("seed ")) continue;
    SCOPED_TRACE(name);
    Checkpoint checkpoint;
    ASSERT_NO_THROW(checkpoint = parse_checkpoint(file));
    if (!name.starts_with("nested")) {
      ASSERT_EQ(checkpoint.tensors.size(), 1u);
      EXPECT_EQ(checkpoint.tensors.at("norm.weight").to_vector<float>(), (std::vector<float>{1, 2, 3}));
    }
    if (name.starts_with("lightning")) {
      EXPECT_EQ(checkpoint.metadata.at("hyper_parameters.lr"), "0.5");
      EXPECT_EQ(checkpoint.metadata.at("epoch"), "3");
    }
    if (name.starts_with("omegaconf")) EXPECT_EQ(checkpoint.metadata.at("iteration"), "7");
    if (name.starts_with("a module beside")) EXPECT_THAT(checkpoint.left_out, ElementsAre("callback"));
    ++read;
  }
  EXPECT_EQ(read, 9 * 5);
}

TEST(Checkpoint, WholeModelsAndCodeAreRefusedWithTheReason) {
  int refused = 0;
  const auto files = test::load_bundle("foreign_pickles.bin");
  for (const auto& [name, file] : files) {
    const auto expected = files.find(name + ".error");
    if (expected == files.end()) continue;
    SCOPED_TRACE(name);
    const auto bytes = expected->second.bytes;
    EXPECT_THAT(error_of(file), HasSubstr(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
    ++refused;
  }
  EXPECT_EQ(refused, 10);
}

TEST(Checkpoint, EveryTruncationAndFlipOfForeignObjectsIsReadOrRefused) {
  const auto files = test::load_bundle("foreign_pickles.bin");
  for (const char* name : {"odds and ends 1", "odds and ends 2", "odds and ends 4"}) {
    const SharedBytes& whole = files.at(name);
    for (std::size_t size = 0; size < whole.size(); ++size)
      ASSERT_NE(error_of(whole.slice(0, size)), "no error") << name << " cut after " << size;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      std::vector<std::byte> changed(whole.bytes.begin(), whole.bytes.end());
      changed[i] ^= std::byte{static_cast<unsigned char>(1u << (i % 8))};
      static_cast<void>(error_of(own_bytes(std::move(changed), name)));
    }
  }
}

TEST(Checkpoint, AnyNestedEntryAndAnyPrefixCanBeChosen) {
  const SharedBytes file = test::load_bundle("foreign_pickles.bin").at("nested 2");
  const auto names_of = [&](const std::string& entry) {
    std::vector<std::string> names;
    for (const auto& item : parse_checkpoint(file, {entry, false}).tensors) names.push_back(item.first);
    return names;
  };
  EXPECT_THAT(names_of(""), ElementsAre("run.nets.ema.norm.weight", "run.nets.raw.norm.weight"));
  EXPECT_THAT(names_of("run"), ElementsAre("nets.ema.norm.weight", "nets.raw.norm.weight"));
  EXPECT_THAT(names_of("run/nets"), ElementsAre("ema.norm.weight", "raw.norm.weight"));
  EXPECT_THAT(names_of("run.nets"), ElementsAre("ema.norm.weight", "raw.norm.weight"));
  EXPECT_THAT(names_of("run/nets/ema."), ElementsAre("norm.weight"));
  EXPECT_THAT(names_of("run/nets/ema.norm."), ElementsAre("weight"));
  EXPECT_THAT(names_of("run.nets.raw."), ElementsAre("norm.weight"));
  EXPECT_EQ(parse_checkpoint(file, {"run/nets/ema.", true}).entry, "run/nets/ema.");
  EXPECT_THAT(parse_checkpoint(file, {"run/nets/ema.", true}).left_out, testing::Contains("raw.norm.weight"));
  EXPECT_THAT(error_of(file, {"run/nets/x.", true}),
              HasSubstr("no name of a tensor begins with 'x.'; they begin with 'ema.', 'raw.'"));
  EXPECT_THAT(error_of(file, {"run/x", true}), HasSubstr("no entry 'x' with tensors; the file holds {nets}"));
  EXPECT_THAT(error_of(file, {"run/nets/ema", true}), HasSubstr("(a prefix of names ends with a dot: 'ema.')"));
  EXPECT_THAT(error_of(file, {"epoch", true}), HasSubstr("no entry 'epoch' with tensors"));

  const test::TempDir dir;
  save_checkpoint(dir / "a.safetensors", {{"teacher.a", Tensor::zeros({1})}, {"net.b", Tensor::zeros({2})}});
  EXPECT_TRUE(load_checkpoint(dir / "a.safetensors", {"net.", true}).tensors.contains("b"));
  EXPECT_THAT(error_of(map_file(dir / "a.safetensors"), {"net", true}),
              HasSubstr("a safetensors file has no entry 'net' (a prefix of names ends with a dot: 'net.')"));
}

TEST(Checkpoint, PlaceholdersAreCalledWhatTheyAre) {
  const auto error = [](const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    return error_of(own_bytes({bytes.begin(), bytes.end()}, "w.pth"));
  };
  EXPECT_THAT(error("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 346378731\n"),
              testing::AllOf(HasSubstr("w.pth: this is a git-LFS pointer, not a file of weights"),
                             HasSubstr("(346378731 bytes) with 'git lfs pull'")));
  EXPECT_THAT(error("\n<!DOCTYPE html><html>"), HasSubstr("w.pth: this is a web page (HTML)"));
  EXPECT_THAT(error("Entry not found"), HasSubstr("(it begins with the text 'Entry not found')"));
}

TEST(Checkpoint, SharedStoragesStaySharedAndViewsAreViews) {
  const auto tensors = parse_checkpoint(test::load_bundle(kBundles[1]).at("zip views")).tensors;
  EXPECT_EQ(tensors.at("base").storage(), tensors.at("transposed").storage());
  EXPECT_EQ(tensors.at("expanded").strides(), Shape{0});
}

TEST(Checkpoint, OurPthFilesReadBackAndAreTheSameBytesEveryTime) {
  const test::TempDir dir;
  std::map<std::string, Tensor> tensors;
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64, DType::kI32, DType::kU8}) {
    tensors[to_string(dtype)] = Tensor::arange(6, dtype).reshape({2, 3});
  }
  tensors["bool"] = Tensor::from<bool>({true, false, true}, {3});
  tensors["scalar"] = Tensor::full({}, 2.5);
  tensors["empty"] = Tensor::empty({0, 4});
  tensors["strided"] = Tensor::arange(600, DType::kI32).reshape({2, 300}).transpose(0, 1);
  tensors["\xc3\xa9"] = Tensor::arange(70000, DType::kU8);
  save_checkpoint(dir / "a.pth", tensors);
  save_checkpoint(dir / "b.pth", tensors);
  const Checkpoint read = load_checkpoint(dir / "a.pth");
  EXPECT_EQ(read.format, "PyTorch zip");
  std::map<std::string, Tensor> dense;
  for (const auto& [name, tensor] : tensors) dense[name] = tensor.contiguous();
  expect_equal(read.tensors, dense);
  EXPECT_EQ(sha256_file(dir / "a.pth"), sha256_file(dir / "b.pth"));
  // torch.load(weights_only=True) of PyTorch 1.13.1 and 2.15.0 opened a file with this pickle and gave these tensors.
  const auto entries = stored_entries(dir / "a.pth");
  EXPECT_EQ(sha256_hex(entries.at("archive/data.pkl")),
            "83bd9d5fd06129b6bc3760651b6868661704d5c70d40d7fa4ab641d8a81a4462");
  EXPECT_EQ(entries.size(), tensors.size() + 3);
  EXPECT_TRUE(entries.contains("archive/version") && entries.contains("archive/byteorder"));

  save_pth(dir / "model.pth", tensors, "model");
  EXPECT_EQ(load_checkpoint(dir / "model.pth").entry, "model");
  save_checkpoint(dir / "a.safetensors", tensors, {{"k", "v"}});
  EXPECT_EQ(load_checkpoint(dir / "a.safetensors").metadata.at("k"), "v");
  EXPECT_THROW(save_checkpoint(dir / "a.bin", tensors), Error);
  EXPECT_THROW(save_pth(dir / "missing/a.pth", tensors), Error);
  EXPECT_THROW(save_pth(dir / "c.pth", {{"\xff", Tensor::zeros({1})}}), Error);
  EXPECT_THROW(save_pth(dir / "c.pth", {{"x", Tensor()}}), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 4);
}

TEST(Checkpoint, FilesThatCannotBeOpenedAreNamed) {
  try {
    load_checkpoint("/nonexistent/weights.pth");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), HasSubstr("/nonexistent/weights.pth: cannot open"));
  }
}

}  // namespace
}  // namespace usol::io
