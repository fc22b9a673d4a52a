#pragma once
// The page's frame: markup, style and script of eval/report.h, with {{slots}} that fill_page() fills.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace usol {

/// Slots: title, summary, nav, sections. Ends where the gallery's pictures begin, each a script element of its own:
/// <script type="application/json" id="p0">.
std::string_view report_page_start();
/// Slots: index (the gallery's list), footer.
std::string_view report_page_end();
/// The gallery's controls and grid; slots: run_choice, panels.
std::string_view report_gallery();

/// Puts values in their slots. Throws Error if a slot has no value.
std::string fill_page(std::string_view page, const std::vector<std::pair<std::string, std::string>>& values);

}  // namespace usol
