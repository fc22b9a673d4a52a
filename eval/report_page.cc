#include "usol/eval/report_page.h"

#include <algorithm>

#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr std::string_view kStart = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title>
<style>
  :root {
    color-scheme: light dark;
    --ground: #f7f7f5; --card: #fff; --text: #1f2328; --soft: #5b6169; --line: #dcdcd6; --accent: #0b5fc0; --mark: #eef3fa;
    --s0: #0b62b8; --s1: #c65102; --s2: #00805c; --s3: #a33c86; --s4: #7a6400; --s5: #5b4bc4; --s6: #b3261e; --s7: #4f5b66;
  }
  @media (prefers-color-scheme: dark) {
    :root {
      --ground: #15171a; --card: #1e2125; --text: #e6e6e3; --soft: #a2a8b0; --line: #353a40; --accent: #7db4f5; --mark: #26303c;
      --s0: #6cb0ff; --s1: #ff9d5c; --s2: #4fd0a5; --s3: #ef8fd0; --s4: #d9c04a; --s5: #a99cff; --s6: #ff8a80; --s7: #b3bec9;
    }
  }
  * { box-sizing: border-box; }
  body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: var(--ground); color: var(--text); }
  body > header, body > section, body > footer { max-width: 84rem; margin: 0 auto; padding: 1rem clamp(.8rem, 3vw, 2rem); }
  h1 { font-size: 1.5rem; line-height: 1.25; margin: .3rem 0; }
  h2 { font-size: 1.15rem; margin: .6rem 0; }
  a { color: var(--accent); }
  nav.parts { display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
  .soft, .note, small { color: var(--soft); }
  .c0 { --c: var(--s0); } .c1 { --c: var(--s1); } .c2 { --c: var(--s2); } .c3 { --c: var(--s3); }
  .c4 { --c: var(--s4); } .c5 { --c: var(--s5); } .c6 { --c: var(--s6); } .c7 { --c: var(--s7); }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; }
  .scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { padding: .35rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
  tr:last-child > * { border-bottom: 0; }
  th:first-child, td.words { text-align: left; }
  thead th { font-weight: 600; color: var(--soft); }
  thead tr.groups th { text-align: center; padding-bottom: 0; border-bottom: 0; }
  td.best { font-weight: 700; background: var(--mark); }
  .swatch { display: inline-block; width: .7em; height: .7em; border-radius: 2px; background: var(--c); margin-right: .5em; }
  .bar { display: block; height: .5rem; min-width: 1px; background: var(--c, var(--accent)); border-radius: 3px; }
  .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
  figure { margin: 0; }
  .chart { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .8rem .4rem; }
  .chart figcaption { font-weight: 600; }
  .chart svg { width: 100%; height: auto; display: block; }
  .grid path { stroke: var(--line); fill: none; }
  .labels text { font-size: 11px; fill: var(--soft); }
  .line { stroke: var(--c); fill: none; stroke-width: 1.8; stroke-linejoin: round; }
  .line.dashed { stroke-dasharray: 5 3; }
  .area { fill: var(--c); fill-opacity: .16; }
  circle { fill: var(--c); }
  .legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .1rem 0 .3rem; padding: 0; font-size: .85rem; }
  .legend li::before { content: ""; display: inline-block; width: 1.1em; border-top: 3px solid var(--c); vertical-align: middle; margin-right: .4em; }
  .legend li.dashed::before { border-top-style: dashed; }
  pre { background: var(--card); border: 1px solid var(--line); padding: .6rem .9rem; overflow-x: auto; border-radius: 8px; margin: .2rem 0 .8rem; }
  kbd { border: 1px solid var(--line); border-bottom-width: 2px; border-radius: 4px; padding: 0 .35em; background: var(--card); font: inherit; font-size: .85em; }
  form { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; align-items: center; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; }
  form label { display: inline-flex; gap: .45rem; align-items: center; }
  input, select, button { font: inherit; color: inherit; }
  select, input[type=search], button { background: var(--ground); border: 1px solid var(--line); border-radius: 6px; padding: .15rem .5rem; max-width: 100%; }
  input[type=range] { width: 8rem; accent-color: var(--accent); }
  output { min-width: 2.4em; font-variant-numeric: tabular-nums; }
  fieldset { border: 0; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
  #grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, calc(4rem + 10.5rem * var(--panels, 1))), 1fr)); gap: 1rem; margin: 1rem 0; align-items: start; }
  .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; cursor: pointer; scroll-margin: 1rem; }
  .panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(10rem, 48%), 1fr)); gap: 2px; }
  .panel { position: relative; min-width: 0; }
  .panel > svg, .panel > .blank { width: 100%; height: auto; display: block; background: #8882; }
  .panel > .blank { padding: 1rem; aspect-ratio: 3/2; }
  .panel > span { position: absolute; left: .35rem; top: .35rem; background: #000a; color: #fff; font-size: .78rem; line-height: 1.5; padding: 0 .45em; border-radius: 4px; max-width: calc(100% - .7rem); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; pointer-events: none; }
  .stages { display: flex; gap: 2px; grid-column: 1 / -1; }
  .stages figure { flex: 1 1 0; max-width: min(33.4%, 9rem); }
  .stages img { width: 100%; display: block; image-rendering: pixelated; }
  .stages figcaption { font-size: .72rem; padding: 0 .4rem; color: var(--soft); }
  .stages[hidden] { display: none; }
  .about { padding: .4rem .75rem .5rem; overflow-wrap: anywhere; }
  .about b { font-weight: 600; }
  .about small { display: block; }
  path.mask { fill-opacity: .4; stroke-width: 1.6; vector-effect: non-scaling-stroke; fill-rule: evenodd; stroke-linejoin: round; }
  path.mask:hover, path.mask.hot { fill-opacity: .1; stroke-width: 3; }
  .pages { display: flex; flex-wrap: wrap; gap: .6rem; justify-content: center; align-items: center; }
  button:disabled { opacity: .45; }
  dialog { width: 100vw; height: 100dvh; max-width: none; max-height: none; border: 0; padding: 0; margin: 0; background: #101214; color: #eee; }
  dialog[open] { display: flex; flex-direction: column; }
  dialog .top { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: center; padding: .4rem .8rem; }
  dialog .top b { flex: 1 1 8rem; overflow-wrap: anywhere; font-weight: 600; }
  dialog button { background: #26292d; border-color: #454a50; }
  dialog .panels { flex: 1 1 0; min-height: 0; overflow: auto; align-content: start; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); padding: 0 .4rem; }
  dialog .panel > svg { max-height: calc(100dvh - 8rem); }
  dialog .stages figure { max-width: 16rem; }
  dialog .stages { justify-content: center; }
  dialog .stages figcaption { color: #b9bec4; }
  dialog ul { display: flex; flex-wrap: wrap; gap: .3rem .7rem; list-style: none; margin: 0; padding: .4rem .8rem .6rem; max-height: 8rem; overflow: auto; font-size: .85rem; }
  dialog li { border-left: .7em solid; padding-left: .4em; border-radius: 2px; }
  @media print { form, nav, .pages { display: none; } }
</style>
</head>
<body>
<header>
<h1>{{title}}</h1>
<p class="soft">{{summary}}</p>
<nav class="parts" aria-label="parts of this page">{{nav}}</nav>
</header>
{{sections}})html";

constexpr std::string_view kGallery = R"html(<section id="pictures">
<h2>Pictures</h2>
<noscript><p>The pictures are drawn by this page's own script: allow it to run to see them.</p></noscript>
<form id="filter" onsubmit="return false" aria-label="filter pictures">
  <label>score at least <input id="score" type="range" min="0" max="1" step="0.01" value="0"> <output id="shown" for="score">0.00</output></label>
  <label>objects <select id="count"><option value="">any number</option><option value="0">none</option><option value="1">one</option><option value="2">two</option><option value="3">three</option><option value="4">four or more</option></select></label>
  {{run_choice}}
  <label>order <select id="order"><option value="given">as given</option><option value="high">best score first</option><option value="low">worst score first</option><option value="many">most objects first</option></select></label>
  <label>name has <input id="name" type="search" size="12"></label>
  <fieldset id="panels" aria-label="what is shown">{{panels}}</fieldset>
</form>
<p><small>Click a picture to enlarge it. Keys: <kbd>j</kbd> <kbd>k</kbd> or arrows next and previous, <kbd>Enter</kbd> enlarge, <kbd>Esc</kbd> back, <kbd>/</kbd> filter by name, <kbd>m</kbd> masks on and off, <kbd>t</kbd> truth on and off.</small></p>
<p id="chosen" class="soft" role="status"></p>
<div id="grid"></div>
<div class="pages"><button id="previous">previous page</button> <span id="page"></span> <button id="next">next page</button></div>
<dialog id="large" aria-label="one picture, enlarged"><div class="top"><b id="which"></b><button id="back" aria-label="previous picture">&larr;</button><button id="on" aria-label="next picture">&rarr;</button><button id="close">close</button></div><div class="panels"></div><ul></ul></dialog>
</section>
)html";

constexpr std::string_view kEnd = R"html(<script id="index" type="application/json">{{index}}</script>
<footer>{{footer}}</footer>
<script>
"use strict";
(() => {
const $ = id => document.getElementById(id);
const index = JSON.parse($("index").textContent);
if (!index.pictures.length) return;
const svgNames = "http://www.w3.org/2000/svg";
const colour = k => index.colours[k % index.colours.length];
const truthColour = "#2ee6a8";
let chosen = [], page = 0, at = -1, enlarged = -1;
const perPage = () => index.runs.length + index.truth > 1 ? 24 : 48;
const least = () => +$("score").value;
const run = () => $("run") ? +$("run").value : 0;
const shows = what => { const box = $("show-" + what); return !box || box.checked; };
// An entry: name, height, width, objects of the truth (-1: unknown), per run its scores, per run the objects found.
const kept = (entry, r) => entry[4][r].filter(s => s >= least());
const bulk = i => JSON.parse($("p" + i).textContent);
const words = (entry, r) => {
  const scores = kept(entry, r), n = scores.length;
  let text = n === 0 ? "no object" : n === 1 ? "1 object" : n + " objects";
  if (n) text += ": " + scores.slice(0, 8).map(s => s.toFixed(2)).join(" ") + (n > 8 ? " ..." : "");
  if (entry[5][r] !== null && entry[3] > 0) text += ", finds " + entry[5][r] + " of " + entry[3];
  return text;
};

function make(name, parent, attributes, text) {
  const node = document.createElement(name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// The picture with outlines over it; scores: null for the truth.
function drawing(entry, parts, paths, scores, label) {
  const panel = make("div", null, {class: "panel"});
  const svg = document.createElementNS(svgNames, "svg");
  const [height, width] = parts.size || [entry[1], entry[2]];
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", entry[0] + ", " + label);
  if (parts.jpeg) {
    const image = document.createElementNS(svgNames, "image");
    image.setAttribute("href", parts.jpeg);
    image.setAttribute("width", width);
    image.setAttribute("height", height);
    image.setAttribute("preserveAspectRatio", "none");
    svg.append(image);
  }
  if (shows("masks")) {
    for (let k = paths.length - 1; k >= 0; --k) {
      if (!paths[k] || (scores && scores[k] < least())) continue;
      const path = document.createElementNS(svgNames, "path"), title = document.createElementNS(svgNames, "title");
      path.setAttribute("class", "mask");
      path.setAttribute("d", paths[k]);
      path.setAttribute("fill", scores ? colour(k) : truthColour);
      path.setAttribute("stroke", scores ? colour(k) : truthColour);
      path.dataset.object = k;
      title.textContent = scores ? "score " + scores[k].toFixed(3) : "truth";
      path.append(title);
      svg.append(path);
    }
  }
  panel.append(svg);
  if (index.runs.length + index.truth > 1) make("span", panel, {}, label.split(":")[0]);
  return panel;
}

function panels(i, parent) {
  const entry = index.pictures[i], parts = bulk(i);
  if (parts.failed) make("div", make("div", parent, {class: "panel"}), {class: "blank"}, parts.failed);
  if (index.truth && shows("truth")) parent.append(drawing(entry, parts, parts.truth, null, "truth: " + entry[3]));
  index.runs.forEach((name, r) => {
    if (shows("run" + r)) parent.append(drawing(entry, parts, parts.runs[r], entry[4][r], name + ": " + words(entry, r)));
  });
  if (parts.stages.length && shows("stages")) {
    const row = make("div", parent, {class: "stages"});
    parts.stages.forEach((source, t) => {
      const figure = make("figure", row);
      make("img", figure, {src: source, alt: "eigenvector of cut " + (t + 1) + " of " + entry[0],
                           style: "aspect-ratio: " + entry[2] + " / " + entry[1]});
      make("figcaption", figure, {}, "cut " + (t + 1));
    });
  }
  return parts;
}

function choose() {
  $("shown").textContent = least().toFixed(2);
  const count = $("count").value, part = $("name").value.toLowerCase(), order = $("order").value, r = run();
  chosen = index.pictures.map((entry, i) => i).filter(i => {
    const entry = index.pictures[i], n = kept(entry, r).length;
    return (count === "" || (count === "4" ? n >= 4 : n === +count)) && entry[0].toLowerCase().includes(part);
  });
  const best = i => Math.max(-1, ...kept(index.pictures[i], r));
  const key = {
    high: i => -best(i), low: best, many: i => -kept(index.pictures[i], r).length,
    missed: i => index.pictures[i][3] > 0 ? (index.pictures[i][5][r] - index.pictures[i][3]) : 1
  }[order];
  if (key) chosen = chosen.map(i => [key(i), i]).sort((a, b) => a[0] - b[0]).map(pair => pair[1]);
  page = 0;
  at = -1;
  draw();
}

function draw() {
  const grid = $("grid"), size = perPage(), pages = Math.max(1, Math.ceil(chosen.length / size));
  const count = index.truth * shows("truth") + index.runs.filter((name, r) => shows("run" + r)).length;
  grid.style.setProperty("--panels", Math.min(Math.max(count, 1), 3));
  grid.replaceChildren();
  chosen.slice(page * size, (page + 1) * size).forEach((i, place) => {
    const entry = index.pictures[i];
    const card = make("figure", grid, {class: "card", tabindex: 0, "data-picture": i, "aria-label": entry[0] + ", " + words(entry, run())});
    const parts = panels(i, make("div", card, {class: "panels"}));
    const about = make("figcaption", card, {class: "about"});
    make("b", about, {}, entry[0]);
    index.runs.forEach((name, r) => make("small", about, {}, (index.runs.length > 1 ? name + ": " : "") + words(entry, r)));
    if (parts.left > 0) make("small", about, {}, parts.left + " objects of low score are not drawn");
    card.onclick = () => enlarge(page * size + place);
    card.onfocus = () => { at = page * size + place; };
  });
  $("chosen").textContent = chosen.length + " of " + index.pictures.length + " pictures";
  $("page").textContent = "page " + (page + 1) + " of " + pages;
  $("previous").disabled = page === 0;
  $("next").disabled = page + 1 >= pages;
}

function turn(to) {
  page = to;
  draw();
  $("pictures").scrollIntoView();
}

// Moves the focus to the n-th chosen picture, on its page.
function select(n) {
  if (n < 0 || n >= chosen.length) return;
  const size = perPage(), wanted = Math.floor(n / size);
  if (wanted !== page) turn(wanted);
  at = n;
  const card = $("grid").children[n - page * size];
  card.focus();
  card.scrollIntoView({block: "nearest"});
}

function enlarge(n) {
  if (n < 0 || n >= chosen.length) return;
  at = enlarged = n;
  const entry = index.pictures[chosen[n]], box = $("large"), list = box.querySelector("ul"), room = box.querySelector(".panels");
  room.replaceChildren();
  panels(chosen[n], room);
  $("which").textContent = (n + 1) + " / " + chosen.length + "  " + entry[0];
  list.replaceChildren();
  index.runs.forEach((name, r) => {
    if (!shows("run" + r)) return;
    entry[4][r].forEach((score, k) => {
      if (score < least()) return;
      const item = make("li", list, {}, (index.runs.length > 1 ? name + " " : "") + score.toFixed(3));
      item.style.borderColor = colour(k);
      const svg = [...room.querySelectorAll("svg")][index.truth * shows("truth") + index.runs.slice(0, r).filter((x, q) => shows("run" + q)).length];
      const path = svg && svg.querySelector("[data-object='" + k + "']");
      if (path) { item.onmouseenter = () => path.classList.add("hot"); item.onmouseleave = () => path.classList.remove("hot"); }
    });
  });
  $("back").disabled = n === 0;
  $("on").disabled = n + 1 >= chosen.length;
  if (!box.open) box.showModal();
}

function toggle(what) {
  const box = $("show-" + what);
  if (!box) return;
  box.checked = !box.checked;
  again();
}
function again() {
  const n = at;
  draw();
  if ($("large").open) enlarge(n); else if (n >= 0) select(n);
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target instanceof HTMLElement && event.target.matches("input[type=search]");
  if (typing) {
    if (event.key === "Escape" || event.key === "Enter") { event.target.blur(); select(0); event.preventDefault(); }
    return;
  }
  const open = $("large").open, onCard = document.activeElement && document.activeElement.classList.contains("card");
  const isArrow = event.key.startsWith("Arrow");
  if (isArrow && !open && !onCard) return;
  const step = {j: 1, ArrowRight: 1, ArrowDown: 1, k: -1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (step) { open ? enlarge(at + step) : select(at < 0 ? 0 : at + step); event.preventDefault(); return; }
  switch (event.key) {
    case "/": if (open) shut(); $("name").focus(); $("name").select(); event.preventDefault(); break;
    case "Enter": if (!open && onCard) { enlarge(at); event.preventDefault(); } break;
    case "m": toggle("masks"); break;
    case "t": toggle("truth"); break;
  }
});
// close() gives the focus back to where it was; the picture that was seen last has it instead.
function shut() {
  $("large").close();
  select(enlarged);
}
$("large").addEventListener("cancel", event => { event.preventDefault(); shut(); });
$("back").onclick = () => enlarge(at - 1);
$("on").onclick = () => enlarge(at + 1);
$("close").onclick = shut;
$("previous").onclick = () => turn(page - 1);
$("next").onclick = () => turn(page + 1);
for (const id of ["score", "count", "run", "order", "name"]) if ($(id)) $(id).oninput = choose;
for (const box of document.querySelectorAll("#panels input")) box.oninput = again;
if (index.truth) make("option", $("order"), {value: "missed"}, "most missed first");
// report.html#count=0&score=0.5 opens with these filters.
for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
  if (["score", "count", "run", "order", "name"].includes(key) && $(key)) $(key).value = value;
}
choose();
})();
</script>
</body>
</html>
)html";

}  // namespace

std::string_view report_page_start() { return kStart; }
std::string_view report_page_end() { return kEnd; }
std::string_view report_gallery() { return kGallery; }

std::string fill_page(std::string_view page, const std::vector<std::pair<std::string, std::string>>& values) {
  std::string out;
  for (std::size_t start = 0; start < page.size();) {
    const std::size_t at = page.find("{{", start);
    out += page.substr(start, at - start);
    if (at == std::string_view::npos) break;
    const std::size_t end = page.find("}}", at);
    const std::string_view key = page.substr(at + 2, end - at - 2);
    const auto found =
        std::find_if(values.begin(), values.end(), [&](const auto& value) { return value.first == key; });
    check(found != values.end(), "report: the page has no value for '{}'", key);
    out += found->second;
    start = end + 2;
  }
  return out;
}

}  // namespace usol
