#pragma once
// The page's frame: markup, style and script of report/report.h. They are the files of report/page/, which CMake embeds
// and which open in a browser by themselves, with sample data where the program puts its own.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace usol::report {

/// Texts for the slots of a page: name and HTML.
using PageSlots = std::vector<std::pair<std::string_view, std::string>>;

/// The page up to where the gallery's pictures begin, each a script element of its own:
/// <script type="application/json" id="p0">. `title`, `summary`, `nav` and `sections` are HTML.
std::string report_page_start(const std::string& title, const std::string& summary, const std::string& nav,
                              const std::string& sections);
/// The page from where the pictures end. `index`: the gallery's list as JSON for a script element; `footer`: HTML.
std::string report_page_end(const std::string& index, const std::string& footer);
/// The gallery's controls and grid, for the sections; `run_choice`, `panels`: HTML.
std::string report_gallery(const std::string& run_choice, const std::string& panels);

/// `page` with the text of each slot, <!--slot NAME-->sample<!--/slot NAME-->, in place of the slot. Slots inside a
/// slot go with it. Throws Error if a slot has no end or no text.
std::string fill_page(std::string_view page, const PageSlots& slots);

}  // namespace usol::report
