#pragma once
// Where a tensor's bytes live.

#include <array>
#include <string>
#include <string_view>

namespace usol {

enum class DeviceType : unsigned char { kCpu, kCuda };
inline constexpr int kDeviceTypes = 2;
inline constexpr std::array<DeviceType, kDeviceTypes> kAllDeviceTypes{DeviceType::kCpu, DeviceType::kCuda};

/// "cpu" or "cuda".
std::string_view name_of(DeviceType type);

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  bool is_cpu() const { return type == DeviceType::kCpu; }
  bool is_cuda() const { return type == DeviceType::kCuda; }
  bool operator==(const Device&) const = default;

  /// Parses "cpu", "cuda" or "cuda:N". Throws Error(kUsage) on anything else.
  static Device parse(std::string_view text);
  static Device cpu() { return {}; }
  static Device cuda(int index = 0) { return {DeviceType::kCuda, index}; }
};

/// "cpu", "cuda:0".
std::string to_string(const Device& device);

}  // namespace usol
