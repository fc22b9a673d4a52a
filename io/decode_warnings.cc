#include "usol/io/decode_warnings.h"

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr std::size_t kFirstLines = 3;

}  // namespace

const char* describe(DecodeWarning kind) {
  switch (kind) {
    case DecodeWarning::kDeepGrey:
      return "grey of more than 8 bits, of which values above 255 became white (and below 0 black), as in Pillow";
    case DecodeWarning::kDamagedData:
      return "damaged, and decoded as far as the decoder could";
    case DecodeWarning::kBadExif:
      return "EXIF block that cannot be read: not turned";
  }
  fail(ErrorKind::kInvalidArgument, "describe: no such kind of warning");
}

void DecodeWarnings::add(DecodeWarning kind, const std::string& name, const std::string& line) {
  const std::lock_guard lock(mutex_);
  Seen& seen = seen_.at(static_cast<std::size_t>(kind));
  if (seen.names.insert(name).second && seen.first_lines.size() < kFirstLines) seen.first_lines.push_back(line);
}

std::vector<DecodeWarnings::Group> DecodeWarnings::groups() const {
  const std::lock_guard lock(mutex_);
  std::vector<Group> groups;
  for (std::size_t k = 0; k < seen_.size(); ++k) {
    if (seen_[k].names.empty()) continue;
    groups.push_back(
        {static_cast<DecodeWarning>(k), static_cast<std::int64_t>(seen_[k].names.size()), seen_[k].first_lines});
  }
  return groups;
}

}  // namespace usol::io
