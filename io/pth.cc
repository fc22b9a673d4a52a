#include "usol/io/pth.h"

#include <zip.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/io/pickle.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

// ---- the zip container ----

struct ZipCloser {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

/// The archive behind a .pth: entries by name, all stored uncompressed.
class Archive {
 public:
  explicit Archive(const SharedBytes& file) : file_(file), budget_(file.size()) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* source = zip_source_buffer_create(file.bytes.data(), file.size(), 0, &error);
    if (source != nullptr) {
      archive_.reset(zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error));
      if (archive_ == nullptr) zip_source_free(source);
    }
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    check(archive_ != nullptr, ErrorKind::kFormat, "pth: {}: no readable zip archive: {} (truncated?)", file.name,
          reason);
  }

  /// Everything before the first '/' of the first entry: PyTorch puts all entries into one folder.
  std::string folder() const {
    const char* first = zip_get_num_entries(archive_.get(), 0) > 0 ? zip_get_name(archive_.get(), 0, 0) : nullptr;
    const std::string name = first != nullptr ? first : "";
    const std::size_t slash = name.find('/');
    check(slash != std::string::npos, ErrorKind::kFormat,
          "pth: {}: a zip archive, but none that PyTorch wrote (first entry '{}')", file_.name, name);
    return name.substr(0, slash + 1);
  }
  bool has(const std::string& name) const { return zip_name_locate(archive_.get(), name.c_str(), 0) >= 0; }

  /// The bytes of an entry, its checksum verified. Together, entries may not take more than the file itself, so that
  /// entries cannot overlap to multiply their bytes.
  SharedBytes read(const std::string& name) {
    const std::string what = fmt::format("{}:{}", file_.name, name);
    const zip_int64_t index = zip_name_locate(archive_.get(), name.c_str(), 0);
    check(index >= 0, ErrorKind::kFormat, "pth: {}: the archive has no such entry (truncated?)", what);
    zip_stat_t status;
    constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    check(zip_stat_index(archive_.get(), static_cast<zip_uint64_t>(index), 0, &status) == 0 &&
              (status.valid & kNeeded) == kNeeded,
          ErrorKind::kFormat, "pth: {}: unreadable directory entry", what);
    check(status.comp_method == ZIP_CM_STORE && status.encryption_method == ZIP_EM_NONE, ErrorKind::kUnsupported,
          "pth: {}: the entry is compressed or encrypted, which PyTorch never does; save the file again with PyTorch",
          what);
    check(status.size <= budget_, ErrorKind::kFormat, "pth: {}: the entries claim more bytes than the file has", what);
    budget_ -= status.size;

    const std::unique_ptr<zip_file_t, ZipCloser> entry(
        zip_fopen_index(archive_.get(), static_cast<zip_uint64_t>(index), 0));
    check(entry != nullptr, ErrorKind::kFormat, "pth: {}: {}", what, zip_strerror(archive_.get()));
    SharedBytes bytes = new_bytes(status.size, what);
    std::size_t filled = 0;
    for (;;) {  // the read past the end is the one that compares checksums
      std::byte beyond{};
      std::byte* to = filled < bytes.size() ? bytes.bytes.data() + filled : &beyond;
      const zip_int64_t count = zip_fread(entry.get(), to, filled < bytes.size() ? bytes.size() - filled : 1);
      check(count >= 0, ErrorKind::kFormat, "pth: {}: {}", what, zip_file_strerror(entry.get()));
      if (count == 0) break;
      check(filled < bytes.size(), ErrorKind::kFormat, "pth: {}: longer than its {} bytes", what, bytes.size());
      filled += static_cast<std::size_t>(count);
    }
    check(filled == bytes.size(), ErrorKind::kFormat, "pth: {}: {} of {} bytes (truncated?)", what, filled,
          bytes.size());
    return bytes;
  }

 private:
  SharedBytes file_;  // before the archive, which reads from it until it is closed
  std::unique_ptr<zip_t, ZipCloser> archive_;
  std::uint64_t budget_;
};

PickledFile parse_zip(const SharedBytes& file) {
  const auto archive = std::make_shared<Archive>(file);
  const std::string folder = archive->folder();
  check(!archive->has(folder + "constants.pkl"), ErrorKind::kUnsupported,
        "pth: {}: a TorchScript program; load it with torch.jit.load and save its state_dict()", file.name);
  if (archive->has(folder + "byteorder")) {
    const SharedBytes order = archive->read(folder + "byteorder");
    const std::string_view text(reinterpret_cast<const char*>(order.bytes.data()), order.size());
    check(text == "little", ErrorKind::kUnsupported, "pth: {}: byte order '{}', only 'little' is supported", file.name,
          text.substr(0, 20));
  }
  PickleTree tree = parse_pickle(archive->read(folder + "data.pkl"));
  const auto load = [archive, folder](const std::string& key, std::size_t bytes) {
    SharedBytes storage = archive->read(folder + "data/" + key);
    check(storage.size() == bytes, ErrorKind::kFormat, "pth: {}: expected {} bytes, got {}", storage.name, bytes,
          storage.size());
    return storage;
  };
  return {"PyTorch zip", PickledTensors(std::move(tree), load, file.size())};
}

// ---- the legacy container: five pickles (magic, protocol, system, object, storage keys), then the storages ----

constexpr std::string_view kLegacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";  // little-endian, see kBigInt

/// Bytes per element of every storage that the object mentions.
std::map<std::string, std::size_t> element_sizes(const PickleTree& tree) {
  std::map<std::string, std::size_t> sizes;
  for (PickleTree::Index index = 0; index < tree.size(); ++index) {
    if (tree[index].kind != PickleKind::kPersistent) continue;
    const StorageId id = read_storage_id(tree, index);
    sizes.emplace(id.key, id.element_bytes);
  }
  return sizes;
}

PickledFile parse_legacy(const SharedBytes& file, const PickleTree& magic) {
  const PickleTree protocol = parse_pickle(file, magic.end());
  check(protocol[protocol.root()].kind == PickleKind::kInt && protocol[protocol.root()].integer == 1001,
        ErrorKind::kUnsupported, "pth: {}: byte {}: expected the legacy protocol 1001", file.name, magic.end());
  const PickleTree system = parse_pickle(file, protocol.end());
  const auto little = system.find(system.root(), "little_endian");
  check(little && system[*little].integer == 1, ErrorKind::kUnsupported,
        "pth: {}: byte {}: big-endian files are not supported", file.name, protocol.end());
  PickleTree tree = parse_pickle(file, system.end());
  const PickleTree keys = parse_pickle(file, tree.end());
  check(keys[keys.root()].kind == PickleKind::kList, ErrorKind::kFormat,
        "pth: {}: byte {}: expected the list of storage keys", file.name, tree.end());

  // The storages follow one another: an element count of 8 bytes, then the elements.
  const auto sizes = element_sizes(tree);
  std::map<std::string, SharedBytes> storages;
  std::size_t at = keys.end();
  for (const PickleTree::Index index : keys[keys.root()].items) {
    const std::string key(keys[index].text);
    const auto size = sizes.find(key);
    check(size != sizes.end(), ErrorKind::kFormat, "pth: {}: byte {}: storage '{}' belongs to no tensor", file.name,
          keys[index].offset, key);
    std::uint64_t count;
    std::memcpy(&count, file.slice(at, 8).bytes.data(), 8);
    check(count <= file.size(), ErrorKind::kFormat, "pth: {}: byte {}: storage '{}' claims {} elements (truncated?)",
          file.name, at, key, count);
    SharedBytes bytes = file.slice(at + 8, static_cast<std::size_t>(count) * size->second);
    at += 8 + bytes.size();
    check(storages.emplace(key, std::move(bytes)).second, ErrorKind::kFormat, "pth: {}: storage '{}' occurs twice",
          file.name, key);
  }
  const auto load = [storages = std::move(storages), name = file.name](const std::string& key, std::size_t bytes) {
    const auto found = storages.find(key);
    check(found != storages.end(), ErrorKind::kFormat, "pth: {}: there is no storage '{}'", name, key);
    check(found->second.size() == bytes, ErrorKind::kFormat, "pth: {}: storage '{}': expected {} bytes, got {}", name,
          key, bytes, found->second.size());
    return found->second;
  };
  return {"PyTorch legacy", PickledTensors(std::move(tree), load, file.size())};
}

}  // namespace

PickledFile parse_pth(const SharedBytes& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.size());
  check(!text.empty(), ErrorKind::kFormat, "pth: {}: the file is empty", file.name);
  if (text.starts_with("PK\3\4") || text.starts_with("PK\5\6")) return parse_zip(file);
  check(text.size() < 512 || text.substr(257, 5) != "ustar", ErrorKind::kUnsupported,
        "pth: {}: a tar file, as PyTorch wrote before version 0.1.10; load it with a newer PyTorch and save it again",
        file.name);
  PickleTree tree = parse_pickle(file);
  const PickleNode& root = tree[tree.root()];
  if (root.kind == PickleKind::kBigInt && root.text == kLegacyMagic) return parse_legacy(file, tree);
  const auto load = [name = file.name](const std::string& key, std::size_t) -> SharedBytes {
    fail(ErrorKind::kFormat, fmt::format("pth: {}: a plain pickle has no storage '{}'", name, key));
  };
  return {"pickle", PickledTensors(std::move(tree), load, file.size())};
}

}  // namespace usol::io
