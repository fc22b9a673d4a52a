#pragma once
// GPUs as cuDNN's heuristics see them, to ask for engines where there is none. Source: NVIDIA's data sheets; limits of
// blocks by compute capability from the CUDA C++ Programming Guide.

#include <array>
#include <string>

namespace usol::cuda {

struct DescribedGpu {
  const char* name;
  int version, multiprocessors, shared_optin, l2_bytes, clock_khz, memory_clock_khz;
  long long memory_bytes;

  /// For CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION.
  std::string json() const {
    const auto number = [](const char* key, long long value) {
      return std::string(", \"") + key + "\": " + std::to_string(value);
    };
    return std::string("{\"deviceName\": \"") + name + "\"" + number("deviceVer", version) +
           number("multiProcessorCount", multiprocessors) + number("maxSharedMemoryPerBlockOptin", shared_optin) +
           number("l2CacheSize", l2_bytes) + number("totalGlobalMem", memory_bytes) +
           number("smClockRateKHz", clock_khz) + number("memClockRateKHz", memory_clock_khz) +
           R"(, "driverVer": 13000, "cudaDeviceId": 0, "pciDeviceId": 0, "warpSize": 32,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "maxThreadsPerBlock": 1024,
  "maxThreadsPerSM": 2048, "maxCtasPerSM": 32, "regsPerBlock": 65536, "maxRegistersPerSM": 65536,
  "maxSharedMemoryPerBlock": 49152, "reservedSharedMemoryPerBlock": 1024, "isTccDriver": 0, "supportCoopLaunch": 1})";
  }
};

inline constexpr std::array<DescribedGpu, 3> kDescribedGpus{
    DescribedGpu{"NVIDIA H100 80GB HBM3", 900, 132, 232448, 52428800, 1980000, 2619000, 85520809984},
    DescribedGpu{"NVIDIA H200", 900, 132, 232448, 62914560, 1980000, 3201000, 150754820096},
    DescribedGpu{"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 41943040, 1410000, 1593000, 85174124544},
};

}  // namespace usol::cuda
