#include "usol/tensor/device.h"

#include <charconv>
#include <system_error>

#include "usol/tensor/check.h"

namespace usol {

std::string_view name_of(DeviceType type) { return type == DeviceType::kCpu ? "cpu" : "cuda"; }

Device Device::parse(std::string_view text) {
  if (text == "cpu") return cpu();
  if (text == "cuda") return cuda(0);
  if (text.starts_with("cuda:")) {
    int index = -1;
    const char* end = text.data() + text.size();
    const auto result = std::from_chars(text.data() + 5, end, index);
    if (result.ec == std::errc() && result.ptr == end && index >= 0) return cuda(index);
  }
  fail(ErrorKind::kUsage, fmt::format("device: expected cpu, cuda or cuda:N, got '{}'", std::string(text)));
}

std::string to_string(const Device& device) { return device.is_cpu() ? "cpu" : fmt::format("cuda:{}", device.index); }

}  // namespace usol
