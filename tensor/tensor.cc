#include "usol/tensor/tensor.h"

#include <algorithm>
#include <cstring>

#include "usol/tensor/allocator.h"
#include "usol/tensor/check.h"
#include "usol/tensor/copy.h"
#include "usol/tensor/recording.h"

namespace usol {

Storage::Storage(std::size_t bytes, Device device)
    : data_(static_cast<std::byte*>(allocator(device.type).allocate(bytes, device.index))),
      bytes_(bytes),
      device_(device),
      owned_(true) {}

Storage::Storage(void* data, std::size_t bytes, Device device, std::function<void()> release)
    : data_(static_cast<std::byte*>(data)),
      bytes_(bytes),
      device_(device),
      owned_(false),
      release_(std::move(release)) {}

Storage::~Storage() {
  if (owned_) allocator(device_.type).deallocate(data_, bytes_, device_.index);
  if (release_) release_();
}

// ---- making ----

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  const auto count = static_cast<std::size_t>(shape.numel());
  check(count <= SIZE_MAX / 8, "tensor: {} elements of {} do not fit memory", shape, dtype);
  t.storage_ = std::make_shared<Storage>(count * size_of(dtype), device);
  t.shape_ = shape;
  t.strides_ = shape.row_major_strides();
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

Tensor Tensor::arange(std::int64_t n, DType dtype, Device device) {
  Tensor t = empty({n}, DType::kI64);
  std::int64_t* data = t.mutable_data<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i) data[i] = i;
  return t.to(dtype).to(device);
}

Tensor Tensor::from_bytes(const void* values, std::size_t count, DType dtype, const Shape& shape) {
  check(static_cast<std::int64_t>(count) == shape.numel(), "tensor: {} values given for shape {}", count, shape);
  Tensor t = empty(shape, dtype);
  if (count > 0) std::memcpy(t.raw(), values, count * size_of(dtype));
  return t;
}

Tensor Tensor::borrow(void* data, const Shape& shape, DType dtype, std::function<void()> release) {
  Tensor t;
  t.storage_ = std::make_shared<Storage>(data, static_cast<std::size_t>(shape.numel()) * size_of(dtype), Device::cpu(),
                                         std::move(release));
  t.shape_ = shape;
  t.strides_ = shape.row_major_strides();
  t.dtype_ = dtype;
  return t;
}

// ---- looking ----

bool Tensor::is_contiguous() const {
  std::int64_t expected = 1;
  for (int d = rank() - 1; d >= 0; --d) {
    if (shape_[d] == 1) continue;
    if (strides_[d] != expected) return shape_.numel() == 0;
    expected *= shape_[d];
  }
  return true;
}

void Tensor::require_dtype(DType dtype) const {
  check(defined(), "tensor: undefined");
  check(dtype == dtype_, "tensor: expected dtype {}, got {} with shape {}", dtype, dtype_, shape_);
}

// ---- views ----

Tensor Tensor::detach() const {
  Tensor t = *this;
  t.grad_.reset();
  return t;
}

void Tensor::check_not_recorded(const char* member, const char* instead) const {
  if (!grad_ || !recording().enabled || recording().in_kernel) return;
  fail(ErrorKind::kInvalidArgument,
       fmt::format("{}: this member function would lose the gradient that is recorded through a tensor of shape {}; "
                   "expected a call of {}, or of detach() first where no gradient is wanted",
                   member, shape_, instead));
}

Tensor Tensor::as_strided(const Shape& shape, const Shape& strides, std::int64_t offset) const {
  check_not_recorded("as_strided", "functions of ops/view.h");
  check(shape.rank() == strides.rank(), "as_strided: shape {} and strides {} differ in rank", shape, strides);
  Tensor t = detach();
  t.shape_ = shape;
  t.strides_ = strides;
  t.offset_ = offset;
  if (shape.numel() == 0) return t;
  std::int64_t low = offset, high = offset;
  for (int d = 0; d < shape.rank(); ++d) (strides[d] < 0 ? low : high) += strides[d] * (shape[d] - 1);
  const auto elements = static_cast<std::int64_t>(storage_->bytes() / size_of(dtype_));
  check(low >= 0 && high < elements, "as_strided: shape {} strides {} offset {} leave a storage of {} elements", shape,
        strides, offset, elements);
  return t;
}

namespace {

// Strides that show `shape` over the elements of (old_shape, old_strides) without a copy, if there are any.
std::optional<Shape> view_strides(const Shape& old_shape, const Shape& old_strides, const Shape& shape) {
  Shape strides = shape.row_major_strides();
  if (shape.numel() == 0) return strides;
  int o = old_shape.rank() - 1;
  int n = shape.rank() - 1;
  while (o >= 0 && n >= 0) {
    std::int64_t old_size = old_shape[o], new_size = shape[n];
    const int group_end = n;
    int group_old = o;
    const std::int64_t base = old_strides[o];
    while (old_size != new_size) {
      if (old_size < new_size) {
        if (group_old == 0) return std::nullopt;
        --group_old;
        if (old_shape[group_old] != 1 && old_strides[group_old] != old_strides[o] * old_size) return std::nullopt;
        old_size *= old_shape[group_old];
      } else {
        if (n == 0) return std::nullopt;
        new_size *= shape[--n];
      }
    }
    std::int64_t stride = base;
    for (int d = group_end; d >= n; --d) {
      strides[d] = stride;
      stride *= shape[d];
    }
    o = group_old - 1;
    --n;
  }
  return strides;  // what is left on either side has size 1
}

}  // namespace

Tensor Tensor::reshape(const Shape& wanted) const {
  check_not_recorded("reshape", "usol::reshape (ops/view.h)");
  Shape shape = wanted;
  int unknown = -1;
  std::int64_t known = 1;
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] == -1) {
      check(unknown < 0, "reshape: only one size of {} may be -1", wanted);
      unknown = d;
    } else {
      known *= shape[d];
    }
  }
  if (unknown >= 0) {
    check(known > 0 && numel() % known == 0, "reshape: cannot infer -1 in {} for shape {}", wanted, shape_);
    shape[unknown] = numel() / known;
  }
  check(shape.numel() == numel(), "reshape: {} has not as many elements as {}", wanted, shape_);
  Shape squeezed, squeezed_strides;  // sizes of 1 say nothing about strides
  for (int d = 0; d < rank(); ++d) {
    if (shape_[d] == 1) continue;
    squeezed.push_back(shape_[d]);
    squeezed_strides.push_back(strides_[d]);
  }
  if (const auto strides = view_strides(squeezed, squeezed_strides, shape)) return as_strided(shape, *strides, offset_);
  return clone().as_strided(shape, shape.row_major_strides(), 0);
}

Tensor Tensor::transpose(int dim0, int dim1) const {
  check_not_recorded("transpose", "usol::transpose (ops/view.h)");
  Shape shape = shape_, strides = strides_;
  std::swap(shape[dim0], shape[dim1]);
  std::swap(strides[dim0], strides[dim1]);
  return as_strided(shape, strides, offset_);
}

Tensor Tensor::permute(const std::vector<int>& dims) const {
  check_not_recorded("permute", "usol::permute (ops/view.h)");
  check(static_cast<int>(dims.size()) == rank(), "permute: {} dimensions given for shape {}", dims.size(), shape_);
  Shape shape, strides;
  std::uint32_t seen = 0;
  for (int dim : dims) {
    const int d = shape_.index(dim);
    check((seen >> d & 1u) == 0, "permute: dimension {} is named twice", dim);
    seen |= 1u << d;
    shape.push_back(shape_[d]);
    strides.push_back(strides_[d]);
  }
  return as_strided(shape, strides, offset_);
}

Tensor Tensor::slice(int dim, std::int64_t start, std::int64_t end, std::int64_t step) const {
  check_not_recorded("slice", "usol::slice (ops/view.h)");
  check(step > 0 && start >= 0 && start <= end && end <= shape_[dim], "slice: [{}, {}) step {} of dimension {} of {}",
        start, end, step, dim, shape_);
  Shape shape = shape_, strides = strides_;
  shape[dim] = (end - start + step - 1) / step;
  strides[dim] *= step;
  return as_strided(shape, strides, offset_ + start * strides_[dim]);
}

Tensor Tensor::select(int dim, std::int64_t index) const {
  check_not_recorded("select", "usol::select (ops/view.h)");
  const std::int64_t size = shape_[dim];
  check(index >= -size && index < size, "select: index {} of dimension {} of {} is out of range", index, dim, shape_);
  const std::int64_t i = index < 0 ? index + size : index;
  return slice(dim, i, i + 1).squeeze(dim);
}

Tensor Tensor::expand(const Shape& shape) const {
  check_not_recorded("expand", "usol::expand (ops/view.h)");
  check(shape.rank() >= rank(), "expand: {} to {}", shape_, shape);
  Shape strides = shape;
  for (int d = 0; d < shape.rank(); ++d) {
    const int own = d - (shape.rank() - rank());
    const std::int64_t size = own < 0 ? 1 : shape_[own];
    check(size == shape[d] || size == 1, "expand: {} to {}", shape_, shape);
    strides[d] = own < 0 || size != shape[d] ? 0 : strides_[own];
  }
  return as_strided(shape, strides, offset_);
}

Tensor Tensor::squeeze(int dim) const {
  check_not_recorded("squeeze", "usol::squeeze (ops/view.h)");
  check(shape_[dim] == 1, "squeeze: dimension {} of {} is not 1", dim, shape_);
  Shape shape, strides;
  for (int d = 0; d < rank(); ++d) {
    if (d == shape_.index(dim)) continue;
    shape.push_back(shape_[d]);
    strides.push_back(strides_[d]);
  }
  return as_strided(shape, strides, offset_);
}

Tensor Tensor::unsqueeze(int dim) const {
  check_not_recorded("unsqueeze", "usol::unsqueeze (ops/view.h)");
  check(dim >= -rank() - 1 && dim <= rank(), "unsqueeze: dimension {} for shape {}", dim, shape_);
  const int at = dim < 0 ? dim + rank() + 1 : dim;
  Shape shape, strides;
  for (int d = 0; d <= rank(); ++d) {
    if (d == at) {
      shape.push_back(1);
      strides.push_back(d < rank() ? strides_[d] * shape_[d] : 1);
    }
    if (d < rank()) {
      shape.push_back(shape_[d]);
      strides.push_back(strides_[d]);
    }
  }
  return as_strided(shape, strides, offset_);
}

// ---- copies ----

Tensor Tensor::contiguous() const {
  if (is_contiguous()) return *this;
  check_not_recorded("contiguous", "usol::contiguous (ops/view.h)");
  return clone();
}

Tensor Tensor::clone() const {
  check_not_recorded("clone", "usol::contiguous (ops/view.h)");
  Tensor out = empty(shape_, dtype_, device());
  copy_kernel(device(), *this, out);
  return out;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  check_not_recorded("to", "usol::cast (ops/cast.h)");
  Tensor out = empty(shape_, dtype, device());
  copy_kernel(device(), *this, out);
  return out;
}

Tensor Tensor::to(Device target) const {
  if (target == device()) return *this;
  check_not_recorded("to", "usol::to_device (ops/cast.h)");
  const Tensor dense = contiguous();
  Tensor out = empty(shape_, dtype_, target);
  const auto bytes = static_cast<std::size_t>(numel()) * size_of(dtype_);
  if (bytes == 0) return out;
  if (is_cpu()) {
    transfer_kernel(target, out.raw(), dense.raw(), bytes, true);
  } else if (target.is_cpu()) {
    transfer_kernel(device(), out.raw(), dense.raw(), bytes, false);
  } else {
    return to(Device::cpu()).to(target);
  }
  return out;
}

void Tensor::copy_from(const Tensor& src) {
  const Tensor here = src.detach().to(device()).expand(shape_);
  storage_->bump_version();
  copy_kernel(device(), here, *this);
}

void Tensor::fill(double value) {
  storage_->bump_version();
  fill_kernel(device(), value, *this);
}

double Tensor::item() const {
  check(numel() == 1, "item: expected one element, got shape {}", shape_);
  return *detach().to(Device::cpu()).to(DType::kF64).contiguous().data<double>();
}

void Tensor::copy_to_host(void* destination) const {
  const Tensor dense = detach().to(Device::cpu()).contiguous();
  const auto bytes = static_cast<std::size_t>(numel()) * size_of(dtype_);
  if (bytes > 0) std::memcpy(destination, dense.raw(), bytes);
}

}  // namespace usol
