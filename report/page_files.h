#pragma once
// The files of report/page/ as they are in the source tree. report/embed.cmake makes the definitions when usol is
// built.

#include <string_view>

namespace usol::report {

std::string_view page_html();
std::string_view page_css();
std::string_view page_js();

}  // namespace usol::report
