#include "tests/emulation/libraries/operand.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <utility>

#include "tests/emulation/stream_work.h"

namespace emulation {
namespace {

// Bytes from the first element to the end of the last. No stride is negative.
std::int64_t span(const Operand& operand) {
  std::int64_t last = 0;
  for (int d = 0; d < operand.dims.rank(); ++d) last += (operand.dims[d] - 1) * operand.strides[d];
  return (last + 1) * static_cast<std::int64_t>(usol::size_of(operand.dtype));
}

// True if no two indices lie in one place, for strides that nest: each is beyond all that the smaller ones reach.
bool distinct(const Operand& operand) {
  std::vector<std::pair<std::int64_t, std::int64_t>> by_stride;
  for (int d = 0; d < operand.dims.rank(); ++d)
    if (operand.dims[d] > 1) by_stride.emplace_back(operand.strides[d], operand.dims[d]);
  std::sort(by_stride.begin(), by_stride.end());
  std::int64_t reached = 0;
  for (const auto& [stride, size] : by_stride) {
    if (stride <= reached) return false;
    reached += (size - 1) * stride;
  }
  return true;
}

bool overlap(const Operand& a, const Operand& b) {
  const auto* first = static_cast<const unsigned char*>(a.data);
  const auto* second = static_cast<const unsigned char*>(b.data);
  return first < second + span(b) && second < first + span(a);
}

std::string text(const Operand& o) {
  return fmt::format("{} {} {} with strides {}", o.name, usol::to_string(o.dtype), usol::to_string(o.dims),
                     usol::to_string(o.strides));
}

// Calls body(offset of the element, its place in row-major order).
template <class Body>
void for_elements(const Operand& operand, Body&& body) {
  const int rank = operand.dims.rank();
  const std::int64_t inner = rank == 0 ? 1 : operand.dims[rank - 1], step = rank == 0 ? 0 : operand.strides[rank - 1];
  const std::int64_t rows = inner == 0 ? 0 : operand.dims.numel() / inner;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t offset = 0, rest = row;
    for (int d = rank - 2; d >= 0; --d) {
      offset += rest % operand.dims[d] * operand.strides[d];
      rest /= operand.dims[d];
    }
    for (std::int64_t i = 0; i < inner; ++i) body(offset + i * step, row * inner + i);
  }
}

}  // namespace

std::string fault_of(const std::vector<Operand>& operands) {
  for (const Operand& o : operands) {
    if (o.data == nullptr) return o.name + " is a null pointer";
    for (int d = 0; d < o.dims.rank(); ++d)
      if (o.dims[d] < 1 || o.strides[d] < 0) return text(o) + ": no such sizes";
    if (reinterpret_cast<std::uintptr_t>(o.data) % usol::size_of(o.dtype) != 0) return text(o) + " is misaligned";
    if (bytes_behind(o.data) < static_cast<std::size_t>(span(o)))
      return fmt::format("{} needs {} bytes, and there are {}", text(o), span(o), bytes_behind(o.data));
  }
  const Operand& out = operands.back();
  if (!distinct(out)) return text(out) + " has two elements in one place";
  for (std::size_t i = 0; i + 1 < operands.size(); ++i) {
    const Operand& in = operands[i];
    const bool same = in.data == out.data && in.dtype == out.dtype && in.dims == out.dims && in.strides == out.strides;
    if (!same && overlap(in, out)) return text(out) + " overlaps " + text(in);
  }
  return {};
}

template <class A>
std::vector<A> load(const Operand& from) {
  std::vector<A> values(static_cast<std::size_t>(from.dims.numel()));
  usol::dispatch_floating(from.dtype, "load", [&]<class T>() {
    const T* data = static_cast<const T*>(from.data);
    for_elements(from, [&](std::int64_t offset, std::int64_t i) { values[i] = static_cast<A>(data[offset]); });
  });
  return values;
}
template std::vector<float> load(const Operand&);
template std::vector<double> load(const Operand&);

template <class A>
void store(const std::vector<A>& values, const Operand& to) {
  usol::dispatch_floating(to.dtype, "store", [&]<class T>() {
    T* data = static_cast<T*>(to.data);
    for_elements(to, [&](std::int64_t offset, std::int64_t i) { data[offset] = static_cast<T>(values[i]); });
  });
}
template void store(const std::vector<float>&, const Operand&);
template void store(const std::vector<double>&, const Operand&);

float to_tf32(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
}

void report(const char* call, const std::string& fault) {
  std::fprintf(stderr, "emulation: %s: %s\n", call, fault.c_str());
}

}  // namespace emulation
