#include "usol/report/page.h"

#include <algorithm>
#include <cstddef>

#include "usol/report/page_files.h"
#include "usol/tensor/check.h"

namespace usol::report {
namespace {

constexpr std::string_view kOpen = "<!--slot ", kClose = "-->";

// A slot of a page: where it stands, with its markers, and what lies between them.
struct Slot {
  std::size_t begin = 0, end = 0;
  std::string_view name, inside;
};

// The slot whose marker is at `begin`.
Slot slot_at(std::string_view page, std::size_t begin) {
  const std::size_t name = begin + kOpen.size(), name_end = page.find(kClose, name);
  check(name_end != std::string_view::npos, "report: expected --> after {}", kOpen);
  Slot slot = {begin, 0, page.substr(name, name_end - name), {}};
  const std::string marker = "<!--/slot " + std::string(slot.name) + std::string(kClose);
  const std::size_t inside = name_end + kClose.size(), inside_end = page.find(marker, inside);
  check(inside_end != std::string_view::npos, "report: expected {} in the page, found none", marker);
  slot.inside = page.substr(inside, inside_end - inside);
  slot.end = inside_end + marker.size();
  return slot;
}

Slot slot_named(std::string_view page, std::string_view name) {
  const std::string marker = std::string(kOpen) + std::string(name) + std::string(kClose);
  const std::size_t begin = page.find(marker);
  check(begin != std::string_view::npos, "report: expected {} in the page, found none", marker);
  return slot_at(page, begin);
}

std::string element(std::string_view start, std::string_view content, std::string_view end) {
  return std::string(start) + std::string(content) + std::string(end);
}

}  // namespace

std::string report_page_start(const std::string& title, const std::string& summary, const std::string& nav,
                              const std::string& sections) {
  const std::string_view page = page_html();
  return fill_page(page.substr(0, slot_named(page, "pictures").begin),
                   {{"title_element", element("<title>", title, "</title>")},
                    {"style", element("<style>\n", page_css(), "</style>")},
                    {"title", title},
                    {"summary", summary},
                    {"nav", nav},
                    {"sections", sections}});
}

std::string report_page_end(const std::string& index, const std::string& footer) {
  const std::string_view page = page_html();
  return fill_page(page.substr(slot_named(page, "pictures").end),
                   {{"index", element("<script id=\"index\" type=\"application/json\">", index, "</script>")},
                    {"footer", footer},
                    {"script", element("<script>\n", page_js(), "</script>")}});
}

std::string report_gallery(const std::string& run_choice, const std::string& panels) {
  return fill_page(slot_named(page_html(), "gallery").inside, {{"run_choice", run_choice}, {"panels", panels}});
}

std::string fill_page(std::string_view page, const PageSlots& slots) {
  std::string out;
  for (std::size_t start = 0; start < page.size();) {
    const std::size_t at = page.find(kOpen, start);
    out += page.substr(start, at - start);
    if (at == std::string_view::npos) break;
    const Slot slot = slot_at(page, at);
    const auto found =
        std::find_if(slots.begin(), slots.end(), [&](const auto& text) { return text.first == slot.name; });
    check(found != slots.end(), "report: the page has no text for the slot '{}'", slot.name);
    out += found->second;
    start = slot.end;
  }
  return out;
}

}  // namespace usol::report
