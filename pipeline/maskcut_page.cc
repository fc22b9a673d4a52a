#include "usol/pipeline/maskcut_page.h"

#include <filesystem>

#include "usol/pipeline/outputs.h"
#include "usol/pipeline/report_page.h"

namespace fs = std::filesystem;

namespace usol {

int run_maskcut_with_page(const Run& run, MaskcutJob& job, const std::string& folder,
                          const std::vector<report::ReportStep>& next_steps) {
  Outputs(run).folder("out", folder);
  const fs::path place = folder;
  const std::string page = (place / "index.html").string();
  const MaskcutOutputs outputs{.coco = (place / "masks.json").string(),
                               .overlays = (place / "overlays").string(),
                               .dump = (place / "stages").string(),
                               .dumped = "x,P",
                               .times = (place / "times.json").string(),
                               .beside = {{"out", page}}};
  const int status = job.run(run, outputs);
  if (run.dry_run || (status != kSuccess && status != kSomeInputsFailed)) return status;
  if (!run.leads()) return status;
  report::ReportOptions report;
  report.title = "Objects found by usol";
  report.picture = job.picture_paths();
  report.decode = job.pictures.decode();
  report.decode.warnings = nullptr;  // the work has heard them
  report.next_steps = next_steps;
  const int page_status = write_report_page(run, page, report::read_report_sources({folder}), report);
  return status == kSuccess ? page_status : status;
}

}  // namespace usol
