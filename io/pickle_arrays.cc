#include "usol/io/pickle_arrays.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr std::string_view kReconstruct = "numpy._core.multiarray._reconstruct";
constexpr std::string_view kFromBuffer = "numpy._core.numeric._frombuffer";
constexpr std::string_view kFromType = "torch._tensor._rebuild_from_type_v2";
constexpr std::string_view kParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kParameterWithState = "torch._utils._rebuild_parameter_with_state";
constexpr std::string_view kTensor = "torch._utils._rebuild_tensor";
constexpr std::string_view kTensorV2 = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kTensorV3 = "torch._utils._rebuild_tensor_v3";

struct TorchType {
  std::string_view storage, dtype;
  StoredType type;
};
constexpr std::array<TorchType, 12> kTorchTypes = {{{"torch.FloatStorage", "torch.float32", StoredType::kF32},
                                                    {"torch.HalfStorage", "torch.float16", StoredType::kF16},
                                                    {"torch.BFloat16Storage", "torch.bfloat16", StoredType::kBF16},
                                                    {"torch.DoubleStorage", "torch.float64", StoredType::kF64},
                                                    {"torch.LongStorage", "torch.int64", StoredType::kI64},
                                                    {"torch.IntStorage", "torch.int32", StoredType::kI32},
                                                    {"torch.ShortStorage", "torch.int16", StoredType::kI16},
                                                    {"torch.CharStorage", "torch.int8", StoredType::kI8},
                                                    {"torch.ByteStorage", "torch.uint8", StoredType::kU8},
                                                    {"torch.BoolStorage", "torch.bool", StoredType::kBool},
                                                    {"", "torch.uint16", StoredType::kU16},
                                                    {"", "torch.uint32", StoredType::kU32}}};

/// Throws Error(kFormat) naming the byte of the node unless `condition`.
template <class... Args>
void require(const PickleTree& tree, bool condition, PickleTree::Index at, fmt::format_string<Args...> format,
             Args&&... args) {
  if (!condition) [[unlikely]]
    tree.fail_at(tree[at], fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace

StorageId read_storage_id(const PickleTree& tree, PickleTree::Index persistent) {
  require(tree, tree[persistent].kind == PickleKind::kPersistent, persistent, "a tensor without a storage");
  const PickleNode& id = tree[tree[persistent].items[0]];
  require(tree, id.kind == PickleKind::kTuple && id.items.size() >= 5 && tree[id.items[0]].text == "storage",
          persistent, "malformed id of a storage");
  const PickleNode& type = tree[id.items[1]];
  const PickleNode& key = tree[id.items[2]];
  const PickleNode& count = tree[id.items[4]];
  require(tree,
          type.kind == PickleKind::kGlobal && key.kind == PickleKind::kString && count.kind == PickleKind::kInt &&
              count.integer >= 0 && count.integer <= (std::int64_t{1} << 56),
          persistent, "malformed id of a storage");
  // PyTorch before 0.4 could save a storage that is a view of another one.
  require(tree, id.items.size() == 5 || tree[id.items[5]].kind == PickleKind::kNone, persistent,
          "views of storages are not supported; load the file with a newer PyTorch and save it again");
  StorageId result{std::string(key.text), std::nullopt, count.integer, 1};
  if (type.text != "torch.UntypedStorage" && type.text != "torch.storage.UntypedStorage") {
    const auto known = std::find_if(kTorchTypes.begin(), kTorchTypes.end(),
                                    [&](const TorchType& t) { return !t.storage.empty() && t.storage == type.text; });
    require(tree, known != kTorchTypes.end(), persistent, "'{}' is no storage", type.text);
    result.type = known->type;
    result.element_bytes = size_of(known->type);
  }
  return result;
}

PickledTensors::PickledTensors(PickleTree tree, LoadStorage load_storage, std::size_t file_bytes)
    : tree_(std::move(tree)),
      load_storage_(std::move(load_storage)),
      budget_(16 * file_bytes + (std::size_t{64} << 20)) {}

bool PickledTensors::is_tensor(Index index) const {
  const PickleNode& node = tree_[index];
  if (node.kind != PickleKind::kObject) return false;
  return node.text == kReconstruct || node.text == kFromBuffer || node.text == kFromType || node.text == kParameter ||
         node.text == kParameterWithState || node.text == kTensor || node.text == kTensorV2 || node.text == kTensorV3;
}

std::int64_t PickledTensors::integer(Index index) const {
  require(tree_, tree_[index].kind == PickleKind::kInt, index, "expected an integer");
  return tree_[index].integer;
}

Shape PickledTensors::shape(Index index) const {
  // torch.Size((2, 3)) and (2, 3) are the same here.
  if (tree_.is_object(index, "torch.Size")) {
    require(tree_, tree_.arguments(index).size() == 1, index, "malformed torch.Size");
    index = tree_.arguments(index)[0];
  }
  const PickleNode& tuple = tree_[index];
  require(tree_, tuple.kind == PickleKind::kTuple || tuple.kind == PickleKind::kList, index,
          "expected a tuple of sizes");
  require(tree_, tuple.items.size() <= Shape::kMaxRank, index, "at most {} dimensions are supported, got {}",
          Shape::kMaxRank, tuple.items.size());
  Shape sizes;
  for (const Index item : tuple.items) {
    sizes.push_back(integer(item));
    require(tree_, sizes[-1] >= 0, item, "negative size or stride {}", sizes[-1]);
  }
  return sizes;
}

/// numpy.dtype('f4', ...) with state (version, byte order, ...).
StoredType PickledTensors::numpy_type(Index dtype, bool& big_endian) const {
  require(tree_, tree_.is_object(dtype, "numpy.dtype") && !tree_.arguments(dtype).empty(), dtype,
          "expected a numpy.dtype");
  const PickleNode& code = tree_[tree_.arguments(dtype)[0]];
  require(tree_, code.kind == PickleKind::kString, dtype, "a numpy.dtype without a type code");
  const auto type = stored_type_of_numpy(code.text);
  if (!type) {
    fail(ErrorKind::kUnsupported, fmt::format("pickle: {}: byte {}: arrays of NumPy type '{}' are not supported",
                                              tree_.name(), code.offset, code.text.substr(0, 40)));
  }
  big_endian = false;
  if (tree_[dtype].state != PickleNode::kNoState) {
    const PickleNode& state = tree_[tree_[dtype].state];
    require(tree_, state.kind == PickleKind::kTuple && state.items.size() >= 2, dtype,
            "malformed state of a numpy.dtype");
    big_endian = tree_[state.items[1]].text == ">";
  }
  return *type;
}

Tensor PickledTensors::numpy_array(Index index) {
  Index dtype = 0, data = 0;
  Shape sizes;
  StoredOrder order;
  if (tree_[index].text == kFromBuffer) {  // (bytes, dtype, shape, 'C' or 'F')
    const auto& arguments = tree_.arguments(index);
    require(tree_, arguments.size() == 4, index, "malformed NumPy array");
    data = arguments[0];
    dtype = arguments[1];
    sizes = shape(arguments[2]);
    order.fortran = tree_[arguments[3]].text == "F";
  } else {  // state ([version,] shape, dtype, is Fortran, bytes)
    require(tree_, tree_[index].state != PickleNode::kNoState, index, "a NumPy array without contents");
    const PickleNode& state = tree_[tree_[index].state];
    require(tree_, state.kind == PickleKind::kTuple && (state.items.size() == 4 || state.items.size() == 5), index,
            "malformed NumPy array");
    const Index* item = state.items.data() + (state.items.size() - 4);
    sizes = shape(item[0]);
    dtype = item[1];
    const PickleNode& fortran = tree_[item[2]];
    require(tree_, fortran.kind == PickleKind::kBool || fortran.kind == PickleKind::kInt, index,
            "malformed NumPy array");
    order.fortran = fortran.integer != 0;
    data = item[3];
  }
  const StoredType type = numpy_type(dtype, order.big_endian);
  const PickleNode& bytes = tree_[data];
  require(tree_, bytes.kind == PickleKind::kBytes || bytes.kind == PickleKind::kString, index,
          "a NumPy array without bytes");
  const std::string what = fmt::format("pickle: {}: byte {}", tree_.name(), tree_[index].offset);
  note(type);
  return tensor_from_stored(tree_.bytes(bytes), type, sizes, what, order);
}

void PickledTensors::note(StoredType type) {
  if (is_widened(type)) widened_.insert(type);
}

/// The storage of a tensor whose elements are `type`; nothing: whose elements are what the storage says.
const PickledTensors::Storage& PickledTensors::storage(Index persistent, std::optional<StoredType> type) {
  const StorageId id = read_storage_id(tree_, persistent);
  require(tree_, id.type || type, persistent, "a storage without an element type");
  require(tree_, !id.type || !type || *id.type == *type, persistent, "a tensor and its storage differ in type");
  const StoredType element = id.type ? *id.type : *type;
  const auto found = storages_.find(id.key);
  if (found != storages_.end()) {
    require(tree_, found->second.type == element, persistent, "storage '{}' is {} and {}", id.key,
            name_of(found->second.type), name_of(element));
    return found->second;
  }
  const std::size_t bytes = static_cast<std::size_t>(id.count) * id.element_bytes;
  require(tree_, bytes % size_of(element) == 0, persistent, "{} bytes hold no whole number of {}", bytes,
          name_of(element));
  const auto count = static_cast<std::int64_t>(bytes / size_of(element));
  const std::string what = fmt::format("pickle: {}: storage '{}'", tree_.name(), id.key);
  note(element);
  Tensor elements = tensor_from_stored(load_storage_(id.key, bytes), element, {count}, what);
  return storages_.emplace(id.key, Storage{std::move(elements), element}).first->second;
}

Tensor PickledTensors::torch_tensor(Index index, std::string_view callee, const std::vector<Index>& arguments) {
  // (storage, offset, sizes, strides[, requires_grad, hooks[, dtype (v3 only)][, metadata]])
  require(tree_,
          arguments.size() >= (callee == kTensor     ? 4u
                               : callee == kTensorV2 ? 6u
                                                     : 7u),
          index, "malformed tensor");
  std::optional<StoredType> type;
  if (callee == kTensorV3) {
    const std::string_view name = tree_[arguments[6]].text;
    const auto known =
        std::find_if(kTorchTypes.begin(), kTorchTypes.end(), [&](const TorchType& t) { return t.dtype == name; });
    if (known == kTorchTypes.end()) {
      fail(ErrorKind::kUnsupported, fmt::format("pickle: {}: byte {}: tensors of {} are not supported", tree_.name(),
                                                tree_[index].offset, name));
    }
    type = known->type;
  }
  const std::size_t metadata = callee == kTensorV3 ? 7 : 6;
  if (arguments.size() > metadata) {
    for (const std::string_view flag : {"neg", "conj"}) {
      const auto value = tree_.find(arguments[metadata], flag);
      require(tree_, !value || tree_[*value].integer == 0, index,
              "lazily negated or conjugated tensors are not supported");
    }
  }
  const Storage& source = storage(arguments[0], type);
  const std::int64_t offset = integer(arguments[1]);
  const Shape sizes = shape(arguments[2]);
  const Shape strides = shape(arguments[3]);
  const std::string what = fmt::format("pickle: {}: byte {}", tree_.name(), tree_[index].offset);
  require(tree_, sizes.rank() == strides.rank(), index, "sizes {} and strides {} differ in length", sizes, strides);
  stored_bytes({sizes.begin(), sizes.end()}, source.type, what);

  const std::int64_t available = source.elements.numel();
  require(tree_, offset >= 0 && offset <= available, index, "offset {} leaves its storage of {} elements", offset,
          available);
  std::int64_t last = offset;
  for (int d = 0; d < sizes.rank() && sizes.numel() > 0; ++d) {
    // In this order nothing overflows: a stride of at most `available` times a size that fits.
    const std::int64_t steps = sizes[d] - 1;
    require(tree_, steps == 0 || strides[d] <= (available - last) / steps, index,
            "sizes {} with strides {} at offset {} leave their storage of {} elements", sizes, strides, offset,
            available);
    last += steps * strides[d];
  }
  require(tree_, sizes.numel() == 0 || last < available, index,
          "sizes {} at offset {} leave their storage of {} elements", sizes, offset, available);
  if (sizes.numel() == 0) return Tensor::empty(sizes, source.elements.dtype());
  return source.elements.as_strided(sizes, strides, offset);
}

Tensor PickledTensors::tensor(Index index) {
  require(tree_, is_tensor(index), index, "is no tensor");
  // Parameters wrap a tensor; wrappers of wrappers do not occur.
  Index inner = index;
  for (int depth = 0; tree_[inner].text == kParameter || tree_[inner].text == kParameterWithState; ++depth) {
    require(tree_, depth < 4 && !tree_.arguments(inner).empty() && is_tensor(tree_.arguments(inner)[0]), index,
            "malformed parameter");
    inner = tree_.arguments(inner)[0];
  }
  Tensor result;
  const std::string_view callee = tree_[inner].text;
  if (callee == kReconstruct || callee == kFromBuffer) {
    result = numpy_array(inner);
  } else if (callee == kFromType) {  // (function, type, arguments, state)
    const auto& outer = tree_.arguments(inner);
    require(
        tree_,
        outer.size() == 4 && tree_[outer[0]].kind == PickleKind::kGlobal && tree_[outer[2]].kind == PickleKind::kTuple,
        inner, "malformed tensor");
    const std::string_view function = tree_[outer[0]].text;
    require(tree_, function == kTensor || function == kTensorV2 || function == kTensorV3, inner,
            "tensors made by '{}' are not supported", function);
    result = torch_tensor(inner, function, tree_[outer[2]].items);
  } else {
    result = torch_tensor(inner, callee, tree_.arguments(inner));
  }
  const std::size_t bytes = static_cast<std::size_t>(result.numel()) * size_of(result.dtype());
  require(tree_, bytes <= budget_, index, "describes tensors many times larger than the file");
  budget_ -= bytes;
  return result;
}

}  // namespace usol::io
