"use strict";
// Groups that are named: a box each, and a button that saves the names file.
(() => {
const boxes = [...document.querySelectorAll("#group-rows input")], button = document.getElementById("save-names");
if (!button) return;
const said = document.getElementById("named"), rows = document.getElementById("group-rows");
const clean = box => box.value.replace(/\s+/g, " ").trim();
const words = box => box.dataset.group === "other" ? "the objects in no group" : "group " + box.dataset.group;
const text = () => boxes.filter(clean).map(box => box.dataset.group + ", " + clean(box) + "\n").join("");
let saved = "";  // the text that was saved last

// What a name does, beside its box.
function note(name, others, spellings) {
  if (!name) return "";
  if (name === "-") return "left out";
  const same = others.slice(0, 4).map(words).join(", ") + (others.length > 4 ? " and " + (others.length - 4) + " more" : "");
  const different = [...spellings].filter(spelling => spelling !== name);
  return [same && "one category with " + same, different.length && "another category than " + different.join(", ")]
    .filter(part => part).join("; ");
}

function say() {
  const named = new Map(), spelled = new Map();  // boxes by name, names by name in small letters
  for (const box of boxes) {
    const name = clean(box), small = name.toLowerCase();
    if (name) named.set(name, [...named.get(name) || [], box]);
    if (name) spelled.set(small, (spelled.get(small) || new Set()).add(name));
  }
  for (const box of boxes) {
    const name = clean(box), row = box.closest(".group");
    const others = (named.get(name) || []).filter(other => other !== box);
    row.querySelector(".note").textContent = note(name, others, spelled.get(name.toLowerCase()));
    row.classList.toggle("out", name === "-");
  }
  const count = boxes.filter(clean).length, kinds = named.size - named.has("-");
  said.textContent = count + " of " + boxes.length + " named, " + kinds + (kinds === 1 ? " category" : " categories");
  button.disabled = kinds === 0;
}

function move(from, by) {
  const at = boxes.indexOf(from) + by;
  if (at === boxes.length) button.focus();
  if (!boxes[at]) return;
  boxes[at].focus();
  boxes[at].select();
  boxes[at].closest(".group").scrollIntoView({block: "nearest"});
}

for (const box of boxes) {
  box.oninput = say;
  box.onkeydown = event => {
    event.stopPropagation();
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;  // Enter may end a syllable
    const by = {Enter: 1, ArrowDown: 1, ArrowUp: -1}[event.key];
    if (!by) return;
    move(box, by);
    event.preventDefault();
  };
}
button.onclick = () => {
  saved = text();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([saved], {type: "text/plain"}));
  link.download = "names.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  said.textContent = "saved. Now: usol group " + rows.dataset.file + " --names names.txt --out named.json";
};
addEventListener("beforeunload", event => { if (text() !== saved) event.preventDefault(); });
say();
})();
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
