#include "tests/support/kernel_report.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "usol/tensor/kernel.h"

namespace usol::test {
namespace {

class KernelReport : public testing::EmptyTestEventListener {
 public:
  explicit KernelReport(std::string path) : path_(std::move(path)) {}

  void OnTestStart(const testing::TestInfo&) override {
    for (const KernelSlot& slot : filled_kernel_slots()) slot.called->store(false);
  }
  // Written at once: a kernel that ends the process takes only its own test with it.
  void OnTestEnd(const testing::TestInfo& info) override {
    std::string names;
    for (const KernelSlot& slot : filled_kernel_slots())
      if (slot.device == DeviceType::kCuda && slot.called->load())
        names.append(names.empty() ? "" : " ").append(slot.name);
    const bool passed = info.result()->Passed();
    std::ofstream(path_, std::ios::app) << info.test_suite_name() << '.' << info.name() << '\t'
                                        << (passed ? "passed" : "failed") << '\t' << names << '\n';
  }

 private:
  std::string path_;
};

}  // namespace

void report_cuda_kernels(const std::string& path) {
  testing::UnitTest::GetInstance()->listeners().Append(new KernelReport(path));  // gtest owns it
}

}  // namespace usol::test
