#include "cli/gallery.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/inputs.h"
#include "io/atomic_file.h"
#include "io/coco.h"
#include "tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr std::size_t kMostImages = 20000;

// The page: what is between @ signs is filled in. Its script reads the entries [name, [score, ...]].
constexpr std::string_view kPage = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@title@</title>
<style>
  body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: #f6f6f4; color: #222; }
  header, section { padding: 1rem 1.5rem; max-width: 75rem; margin: auto; }
  h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
  h2 { font-size: 1.1rem; }
  form { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: center; margin-top: .8rem; }
  label { display: flex; gap: .5rem; align-items: center; }
  #grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; align-items: start; padding: 0 1.5rem; }
  figure { margin: 0; background: #fff; border-radius: 6px; overflow: hidden; box-shadow: 0 1px 3px #0003; cursor: pointer; }
  figure:focus { outline: 3px solid #2a6fdb; }
  figure img { width: 100%; display: block; background: #ddd; min-height: 6rem; }
  figcaption { padding: .4rem .7rem; overflow-wrap: anywhere; }
  figcaption small { color: #666; }
  nav { text-align: center; padding: 1rem; }
  button { font: inherit; padding: .2rem .8rem; }
  dialog { width: 96vw; height: 94vh; max-width: none; max-height: none; border: 0; padding: 0; background: #111; color: #eee; }
  dialog img { width: 100%; height: calc(100% - 2.2rem); object-fit: contain; display: block; }
  dialog p { margin: 0; padding: .3rem 1rem; }
  pre { background: #fff; padding: .7rem 1rem; overflow-x: auto; border-radius: 6px; }
</style>
</head>
<body>
<header>
<h1>@title@</h1>
<div id="summary"></div>
<form onsubmit="return false">
  <label>score at least <input id="score" type="range" min="0" max="1" step="0.01" value="0"> <output id="shown">0</output></label>
  <label>masks <select id="count"><option value="">any</option><option value="0">none</option><option value="1">one</option><option value="2">two</option><option value="3">three or more</option></select></label>
  <label>order <select id="order"><option value="name">by name</option><option value="high">best score first</option><option value="low">worst score first</option></select></label>
  <label>name has <input id="name" type="search" size="12"></label>
</form>
<p><small>Click a picture, or press Enter on it, to enlarge it; then the arrow keys go through all of them, Escape comes back.</small></p>
</header>
<main id="grid"></main>
<nav><button id="previous">previous</button> <span id="page"></span> <button id="next">next</button></nav>
<section>
<h2>Where to go next</h2>
@next@
</section>
<dialog id="large"><img alt=""><p></p></dialog>
<script id="data" type="application/json">@data@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const perPage = 60;
let chosen = [], page = 0, open = -1;
const url = name => data.overlays + "/" + name.replace(/\.[^./]*$/, "").split("/").map(encodeURIComponent).join("/") + ".jpg";
const kept = entry => entry[1].filter(s => s >= +$("score").value);
const best = entry => kept(entry).reduce((a, b) => Math.max(a, b), -1);
const caption = entry => {
  const scores = kept(entry);
  return [entry[0], scores.length ? scores.map(s => s.toFixed(2)).join(", ") : "no mask"];
};
function choose() {
  $("shown").textContent = (+$("score").value).toFixed(2);
  const count = $("count").value, part = $("name").value.toLowerCase(), order = $("order").value;
  chosen = data.images.filter(e => {
    const n = kept(e).length;
    return (count === "" || (count === "3" ? n >= 3 : n === +count)) && e[0].toLowerCase().includes(part);
  });
  if (order !== "name") chosen = chosen.map(e => [best(e), e]).sort((a, b) => order === "high" ? b[0] - a[0] : a[0] - b[0]).map(p => p[1]);
  page = 0;
  draw();
}
function draw() {
  const grid = $("grid");
  grid.replaceChildren();
  const pages = Math.max(1, Math.ceil(chosen.length / perPage));
  chosen.slice(page * perPage, (page + 1) * perPage).forEach((entry, i) => {
    const figure = document.createElement("figure"), image = document.createElement("img");
    const text = document.createElement("figcaption"), small = document.createElement("small");
    const [name, scores] = caption(entry);
    image.loading = "lazy";
    image.src = url(entry[0]);
    image.alt = name;
    small.textContent = scores;
    text.append(name, document.createElement("br"), small);
    figure.tabIndex = 0;
    figure.append(image, text);
    figure.onclick = () => enlarge(page * perPage + i);
    figure.onkeydown = e => { if (e.key === "Enter") enlarge(page * perPage + i); };
    grid.append(figure);
  });
  $("page").textContent = chosen.length + " pictures, page " + (page + 1) + " of " + pages;
  $("previous").disabled = page === 0;
  $("next").disabled = page + 1 >= pages;
}
function enlarge(index) {
  if (index < 0 || index >= chosen.length) return;
  open = index;
  const box = $("large");
  box.querySelector("img").src = url(chosen[index][0]);
  box.querySelector("p").textContent = (index + 1) + "/" + chosen.length + "  " + caption(chosen[index]).join("  |  ");
  if (!box.open) box.showModal();
}
$("large").onclick = () => $("large").close();
document.addEventListener("keydown", e => {
  const step = e.key === "ArrowRight" ? 1 : e.key === "ArrowLeft" ? -1 : 0;
  if (step && $("large").open) enlarge(open + step);
});
$("previous").onclick = () => { page--; draw(); scrollTo(0, 0); };
$("next").onclick = () => { page++; draw(); scrollTo(0, 0); };
for (const id of ["score", "count", "order", "name"]) $(id).oninput = choose;
$("summary").textContent = data.summary;
choose();
</script>
</body>
</html>
)html";

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// JSON inside a script element must not hold "</" or "<!--".
std::string json_in_script(const nlohmann::ordered_json& json) {
  std::string text = json.dump(), out;
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

std::string fill(std::string_view page, const std::vector<std::pair<std::string, std::string>>& values) {
  std::string out;
  for (std::size_t start = 0; start < page.size();) {
    const std::size_t at = page.find('@', start);
    out += page.substr(start, at - start);
    if (at == std::string_view::npos) break;
    const std::size_t end = page.find('@', at + 1);
    const auto key = page.substr(at + 1, end - at - 1);
    const auto found =
        std::find_if(values.begin(), values.end(), [&](const auto& value) { return value.first == key; });
    check(found != values.end(), "gallery: the page has no value for '{}'", key);
    out += found->second;
    start = end + 1;
  }
  return out;
}

}  // namespace

void write_gallery(const fs::path& page, const fs::path& coco_file, const std::string& overlays,
                   const std::string& title, const std::vector<GalleryStep>& next_steps) {
  const AnnotationSet set = read_coco(coco_file, {.segmentations = false});
  const IdIndex index = index_images(set);
  std::vector<std::vector<double>> scores(set.images.size());
  for (const auto& annotation : set.annotations) {
    const double rounded = std::round(annotation.score * 1000) / 1000;
    scores[static_cast<std::size_t>(index.find(annotation.image_id))].push_back(rounded);
  }
  nlohmann::ordered_json data;
  data["overlays"] = overlays;
  auto& images = data["images"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < std::min(set.images.size(), kMostImages); ++i) {
    images.push_back({set.images[i].file_name, scores[i]});
  }
  std::string summary = fmt::format("{} pictures, {} masks", set.images.size(), set.annotations.size());
  if (set.images.size() > kMostImages) summary += fmt::format("; the first {} pictures are shown", kMostImages);
  data["summary"] = summary;
  std::string next;
  for (const auto& step : next_steps) {
    next += fmt::format("<p>{}</p>\n<pre>{}</pre>\n", escape_html(step.what), escape_html(step.command));
  }
  write_file(page, fill(kPage, {{"title", escape_html(title)}, {"next", next}, {"data", json_in_script(data)}}));
}

}  // namespace usol
