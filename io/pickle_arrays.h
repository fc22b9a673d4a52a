#pragma once
// Tensors out of a pickle: NumPy's arrays (their bytes are in the pickle) and PyTorch's tensors (views of storages that
// lie outside of it). The nodes come from io/pickle.h.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "usol/io/pickle.h"
#include "usol/io/shared_bytes.h"
#include "usol/io/stored_array.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

/// Which storage a persistent id of PyTorch names.
struct StorageId {
  std::string key;
  std::optional<StoredType> type;  // nothing: untyped, counted in bytes
  std::int64_t count = 0;          // of elements, or of bytes
  std::size_t element_bytes = 1;
};
/// Reads ('storage', torch.FloatStorage, key, device, count, None), the id that a kPersistent node holds.
/// Throws Error(kFormat) if it is none.
StorageId read_storage_id(const PickleTree& tree, PickleTree::Index persistent);

class PickledTensors {
 public:
  /// Returns the raw bytes of the storage with that key; called once per storage, when a tensor first needs it.
  /// Throws Error if there is none, or if it does not hold exactly `bytes` bytes.
  using LoadStorage = std::function<SharedBytes(const std::string& key, std::size_t bytes)>;

  /// All tensors made together may take 16 times `file_bytes` (and 64 MiB) before it is an error: files can describe
  /// huge tensors by repeating a few bytes.
  PickledTensors(PickleTree tree, LoadStorage load_storage, std::size_t file_bytes);

  const PickleTree& tree() const { return tree_; }
  /// Is the node a tensor, parameter or NumPy array? (NumPy's scalars are not.)
  bool is_tensor(PickleTree::Index index) const;
  /// Makes the tensor. Views of one storage share memory and keep their strides; narrow integers are widened
  /// (io/stored_array.h). Throws Error(kFormat) naming the byte offset if anything does not fit, Error(kUnsupported)
  /// for element types that have no Tensor.
  Tensor tensor(PickleTree::Index index);
  /// The types of those made so far that were widened.
  const std::set<StoredType>& widened() const { return widened_; }

 private:
  using Index = PickleTree::Index;
  struct Storage {
    Tensor elements;  // [n]
    StoredType type;
  };

  std::int64_t integer(Index index) const;
  Shape shape(Index tuple) const;
  StoredType numpy_type(Index dtype, bool& big_endian) const;
  Tensor numpy_array(Index index);
  void note(StoredType type);
  Tensor torch_tensor(Index index, std::string_view callee, const std::vector<Index>& arguments);
  const Storage& storage(Index persistent, std::optional<StoredType> type);

  PickleTree tree_;
  LoadStorage load_storage_;
  std::size_t budget_;
  std::map<std::string, Storage> storages_;
  std::set<StoredType> widened_;
};

}  // namespace usol::io
