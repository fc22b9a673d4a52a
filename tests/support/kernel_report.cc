#include "tests/support/kernel_report.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "usol/tensor/kernel.h"

namespace usol::test {
namespace {

class KernelReport : public testing::EmptyTestEventListener {
 public:
  explicit KernelReport(std::string path) : path_(std::move(path)) {}

  void OnTestStart(const testing::TestInfo&) override {
    for (const KernelSlot& slot : filled_kernel_slots()) slot.called->store(false);
  }
  void OnTestEnd(const testing::TestInfo& info) override {
    for (const KernelSlot& slot : filled_kernel_slots()) {
      if (slot.device != DeviceType::kCuda) continue;
      Count& count = counts_[slot.name];
      if (slot.called->load()) ++(info.result()->Passed() ? count.passed : count.failed);
    }
  }
  void OnTestProgramEnd(const testing::UnitTest&) override {
    std::ofstream out(path_);
    for (const auto& [name, count] : counts_) out << name << '\t' << count.passed << '\t' << count.failed << '\n';
  }

 private:
  struct Count {
    int passed = 0, failed = 0;
  };
  std::string path_;
  std::map<std::string, Count> counts_;
};

}  // namespace

void report_cuda_kernels(const std::string& path) {
  testing::UnitTest::GetInstance()->listeners().Append(new KernelReport(path));  // gtest owns it
}

}  // namespace usol::test
