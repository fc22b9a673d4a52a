#pragma once
// Tensor: a cheap handle on a strided block of elements. Copies share storage. Eager, row-major, NCHW.
//
// Gradients do not flow through the methods here. Their differentiable counterparts are free functions in ops/
// (ops/view.h, ops/cast.h). Where a gradient is being recorded through a tensor, its methods that make another tensor
// throw Error, naming the function to call, rather than lose the gradient; detach() says that none is wanted.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "usol/tensor/device.h"
#include "usol/tensor/dtype.h"
#include "usol/tensor/shape.h"

namespace usol {

struct GradMeta;  // autograd/tape.h

/// A block of memory on one device, and a version that every in-place write through a Tensor raises.
class Storage {
 public:
  /// Owns `bytes` fresh bytes of the device's allocator.
  Storage(std::size_t bytes, Device device);
  /// Borrows memory; `release` (may be empty) is called when the last tensor lets go.
  Storage(void* data, std::size_t bytes, Device device, std::function<void()> release);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  std::uint64_t version() const { return version_; }
  void bump_version() { ++version_; }

 private:
  std::byte* data_;
  std::size_t bytes_;
  Device device_;
  bool owned_;
  std::function<void()> release_;
  std::uint64_t version_ = 0;
};

class Tensor {
 public:
  /// An undefined tensor: defined() is false and nothing else may be called.
  Tensor() = default;

  // ---- making ----
  /// Uninitialised elements.
  static Tensor empty(const Shape& shape, DType dtype = DType::kF32, Device device = {});
  static Tensor zeros(const Shape& shape, DType dtype = DType::kF32, Device device = {});
  static Tensor full(const Shape& shape, double value, DType dtype = DType::kF32, Device device = {});
  /// 0, 1, ... n-1.
  static Tensor arange(std::int64_t n, DType dtype = DType::kI64, Device device = {});
  /// A CPU tensor with a copy of `values`. Throws Error if their number is not shape.numel().
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape) {
    return from_bytes(values.data(), values.size(), dtype_of<T>, shape);
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }
  template <class T>
  static Tensor from(std::initializer_list<T> values, const Shape& shape) {
    return from(std::span<const T>(values.begin(), values.size()), shape);
  }
  /// A dense CPU tensor over memory it does not own; `release` runs when the last view is gone.
  static Tensor borrow(void* data, const Shape& shape, DType dtype, std::function<void()> release = {});

  // ---- looking ----
  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  // in elements
  int rank() const { return shape_.rank(); }
  std::int64_t size(int dim) const { return shape_[dim]; }
  std::int64_t numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_->device(); }
  bool is_cpu() const { return device().is_cpu(); }
  bool is_contiguous() const;
  /// First element as T. Throws Error if T is not the dtype. Reading a CUDA tensor through it is the caller's mistake.
  template <class T>
  const T* data() const {
    require_dtype(dtype_of<T>);
    return reinterpret_cast<const T*>(raw());
  }
  /// As data(), for writing. Raises the storage's version.
  template <class T>
  T* mutable_data() {
    require_dtype(dtype_of<T>);
    storage_->bump_version();
    return reinterpret_cast<T*>(raw());
  }
  std::byte* raw() const { return storage_->data() + offset_ * static_cast<std::int64_t>(size_of(dtype_)); }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  std::int64_t storage_offset() const { return offset_; }

  // ---- views (share storage); they throw Error where a gradient is recorded ----
  /// Same elements, other shape; one size may be -1. A copy if the strides allow no view.
  Tensor reshape(const Shape& shape) const;
  Tensor transpose(int dim0, int dim1) const;
  Tensor permute(const std::vector<int>& dims) const;
  /// Elements [start, end) of `dim` with a positive step. Throws Error out of range.
  Tensor slice(int dim, std::int64_t start, std::int64_t end, std::int64_t step = 1) const;
  /// Drops `dim` at `index` (negative counts from the back).
  Tensor select(int dim, std::int64_t index) const;
  /// Broadcast view: sizes of 1 repeat with stride 0.
  Tensor expand(const Shape& shape) const;
  Tensor squeeze(int dim) const;
  Tensor unsqueeze(int dim) const;
  /// A view with any shape, strides and offset (in elements) inside the storage. Throws Error if it would leave it.
  Tensor as_strided(const Shape& shape, const Shape& strides, std::int64_t offset) const;
  /// The same elements without gradient bookkeeping. Never throws.
  Tensor detach() const;

  // ---- copies; as the views, unless they return the tensor itself ----
  /// Itself if dense row-major, else a dense copy.
  Tensor contiguous() const;
  Tensor clone() const;
  Tensor to(DType dtype) const;
  Tensor to(Device device) const;

  // ---- elements ----
  /// Overwrites the elements with src's (broadcast, cast, moved between devices as needed).
  void copy_from(const Tensor& src);
  void fill(double value);
  /// The only element, as double. Throws Error unless numel() is 1.
  double item() const;
  /// All elements in row-major order, on the CPU. Throws Error if T is not the dtype. (Of bool: to(kU8) first.)
  template <class T>
  std::vector<T> to_vector() const {
    require_dtype(dtype_of<T>);
    std::vector<T> values(static_cast<std::size_t>(numel()));
    copy_to_host(values.data());
    return values;
  }

  // ---- gradients: used through autograd/ ----
  const std::shared_ptr<GradMeta>& grad_meta() const { return grad_; }
  void set_grad_meta(std::shared_ptr<GradMeta> meta) { grad_ = std::move(meta); }

 private:
  static Tensor from_bytes(const void* values, std::size_t count, DType dtype, const Shape& shape);
  /// Throws Error where `member` would lose a gradient that is being recorded; `instead` is what to call.
  void check_not_recorded(const char* member, const char* instead) const;
  void require_dtype(DType dtype) const;
  void copy_to_host(void* destination) const;

  std::shared_ptr<Storage> storage_;
  Shape shape_, strides_;
  std::int64_t offset_ = 0;
  DType dtype_ = DType::kF32;
  std::shared_ptr<GradMeta> grad_;
};

}  // namespace usol
