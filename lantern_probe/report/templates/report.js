"use strict";
// A browser of samples. All texts of data go through textContent; nothing of them is ever markup.
(() => {
const $ = (id) => document.getElementById(id);
const ROW = 36, BEYOND = 8, PAGE = 40, CUT = 4000, KEPT = 16, CANDIDATES = 8, LOOK = 2000;
const BLOCK = /<\|lvr_start\|>(?:\s*<\|lvr_sep\|>)*(?:\s*<\|lvr_end\|>)?|<\|lvr_end\|>/g;
let state = null, run = null, view = [], shown = { first: -1, last: -1 }, ticket = 0, opening = 0;
const waiting = new Map(), chunks = new Map();
const at = { run: "", sample: null, condition: "", category: "", marks: [], query: "", sort: "", map: "", box: true, page: 0 };

// Elements, data
function make(tag, options = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...inside.filter((one) => one !== null && one !== undefined));
  return made;
}
const button = (text, act, more = {}) => make("button", { type: "button", class: "plain", text, on: { click: act }, ...more });
async function unpacked(text) {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old to unpack the data (it needs DecompressionStream, of 2023)");
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
}
function script(file) {
  return new Promise((done, failed) => {
    const made = make("script", { src: file });
    made.onload = () => { made.remove(); done(); };
    made.onerror = () => { made.remove(); failed(new Error(`the file ${file.replace(/\?.*/, "")} beside the page cannot be read`)); };
    document.head.append(made);
  });
}
window.lanternData = (name, text) => waiting.set(name, text);
window.lanternState = (found) => waiting.set("state", found);
async function load(name) {
  const inside = $(`part-${name}`);
  if (inside) return unpacked(inside.textContent);
  await script(`data/${name}.js`);
  const text = waiting.get(name);
  waiting.delete(name);
  return unpacked(text);
}
async function readState() {
  if ($("state")) return JSON.parse($("state").textContent);
  await script(`data/state.js?${Date.now()}`);
  return waiting.get("state");
}
const fileOf = (name) => { const inside = $(`part-${name}`); return inside ? inside.textContent : `images/${name}`; };
function value(column, strings, i) {
  if (column.text) return column.text[i] < 0 ? null : strings[column.text[i]];
  if (column.plain) return column.plain[i];
  if (column.of[i] < 0) return null;
  return Object.fromEntries(column.keys[column.of[i]].map((key, k) => [strings[key], column.values[i][k]]));
}
async function chunkAt(number) {
  const name = state.runs[run.number].chunks[number];
  let found = chunks.get(name);
  if (!found) {
    found = load(name);
    found.catch(() => chunks.delete(name));
  }
  chunks.delete(name);
  chunks.set(name, found);
  if (chunks.size > KEPT) chunks.delete(chunks.keys().next().value);
  return found;
}
function chunkOf(sample) {
  let low = 0, high = run.starts.length - 1;
  while (low < high) { const middle = (low + high + 1) >> 1; if (run.starts[middle] <= sample) low = middle; else high = middle - 1; }
  return low;
}

// The place in the address
function readPlace() {
  const given = new URLSearchParams(location.hash.slice(1));
  at.run = given.get("run") ?? "";
  at.sample = given.get("sample");
  at.condition = given.get("condition") ?? "";
  at.category = given.get("category") ?? "";
  at.marks = (given.get("only") ?? "").split(",").filter((name) => name in state.marks);
  at.query = given.get("q") ?? "";
  at.sort = given.get("sort") ?? "";
}
function writePlace(push = false) {
  const place = new URLSearchParams();
  const put = (name, text) => { if (text !== "" && text !== null) place.set(name, text); };
  if (state.runs.length > 1) put("run", at.run);
  put("condition", at.condition);
  put("category", at.category);
  put("only", at.marks.join(","));
  put("q", at.query);
  put("sort", at.sort);
  put("sample", at.sample);
  const hash = `#${place}`;
  if (hash === location.hash || (hash === "#" && !location.hash)) return;
  history[push ? "pushState" : "replaceState"](null, "", hash);
}

// Filters, search, order
const bit = (name) => 1 << Object.keys(state.marks).indexOf(name);
const present = () => 1 << Object.keys(state.marks).length;
const textAt = (column, i) => (column[i] < 0 ? null : run.strings[column[i]]);
function chosenColumns() {
  const one = run.labels.indexOf(at.condition);
  return one < 0 ? run.columns : [run.columns[one]];
}
function filtered() {
  const need = at.marks.reduce((sum, name) => sum | bit(name), 0), columns = chosenColumns(), narrowed = need > 0 || run.labels.includes(at.condition);
  const category = at.category === "" ? null : run.strings.indexOf(at.category);
  const query = at.query.toLowerCase();
  let hit = null;
  if (query) hit = run.strings.map((text) => text.toLowerCase().includes(query));
  const found = [];
  for (let i = 0; i < run.ids.length; i++) {
    if (category !== null && run.category[i] !== category) continue;
    if (narrowed && !columns.some((column) => column.marks[i] && (column.marks[i] & need) === need)) continue;
    if (hit && !run.deep.has(i) && !run.ids[i].toLowerCase().includes(query) && !hit[run.question[i]] && !hit[run.gold[i]]
      && !hit[run.category[i]] && !run.columns.some((column) => hit[column.answer[i]])) continue;
    found.push(i);
  }
  return ordered(found);
}
function ordered(found) {
  const down = at.sort.startsWith("-"), name = at.sort.replace(/^-/, "");
  if (!name) return found;
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const column = { question: run.question, right: run.gold, category: run.category, own: run.columns[0]?.answer, other: chosenColumns()[0]?.answer }[name];
  const key = name === "changed" ? (i) => run.changes[i] : name === "id" ? (i) => run.ids[i] : column ? (i) => textAt(column, i) ?? "\uffff" : null;
  if (!key) return found;
  const keys = new Map(found.map((i) => [i, key(i)]));
  const order = name === "changed" ? (a, b) => keys.get(a) - keys.get(b) : (a, b) => compare(keys.get(a), keys.get(b));
  return found.sort((a, b) => (down ? -order(a, b) : order(a, b)) || a - b);
}
async function searchTexts() {
  const mine = ++ticket, query = at.query.toLowerCase();
  run.deep = new Set();
  if (!query) return;
  const names = state.runs[run.number].chunks;
  for (let number = 0; number < names.length; number++) {
    let chunk;
    try { chunk = await chunkAt(number); } catch (error) { if (mine === ticket) say(error.message); return; }
    if (mine !== ticket) return;
    const before = run.deep.size, hit = chunk.strings.map((text) => text.toLowerCase().includes(query));
    const look = (column, where) => column.text?.forEach((text, i) => { if (hit[text]) run.deep.add(chunk.first + where(i)); });
    for (const name of ["text", "answer", "error"]) if (chunk.rows[name]) look(chunk.rows[name], (i) => chunk.of[i]);
    Object.values(chunk.samples).forEach((column) => look(column, (i) => i));
    for (const name of ["options", "accepted", "attributes"]) {
      chunk.samples[name].plain.forEach((found, i) => { if (found && Object.values(found).some((one) => String(one).toLowerCase().includes(query))) run.deep.add(chunk.first + i); });
    }
    if (run.deep.size !== before) refresh(false);
    counted(number + 1 < names.length ? `; searching the texts, ${number + 1} of ${names.length}` : "");
    await new Promise((done) => setTimeout(done));
  }
}
function say(text) { $("count").textContent = text; }
function counted(more = "") {
  const all = run.ids.length, format = (n) => n.toLocaleString("en");
  say(`${view.length === all ? format(all) : `${format(view.length)} of ${format(all)}`} samples${more}`);
}

// The list
const shownAnswer = (column, i) => {
  const marks = column.marks[i];
  if (!marks) return ["", "none"];
  if (marks & bit("failed")) return ["failed or left out", "none"];
  if (marks & bit("unread")) return ["none read", "none"];
  return [textAt(column.answer, i) ?? "", marks & bit("right") ? "right" : marks & bit("wrong") ? "wrong" : ""];
};
function heads() {
  const one = run.labels.indexOf(at.condition), other = one > 0 ? run.labels[one] : null;
  const all = [["id", "id", "id"], ["question", "question", "extra"], ["right", "right answer", "short extra"], ["own", run.labels[0] ?? "answer", "short"]];
  if (other) all.push(["other", other, "short"]);
  if (run.labels.length > 1) all.push(["changed", "changed", "count"]);
  if (run.categories.length) all.push(["category", "category", "short extra"]);
  return all.map(([name, words, kind]) => ({ name, words, kind }));
}
function drawHeads() {
  $("heads").replaceChildren(...heads().map(({ name, words, kind }) => {
    const sorted = at.sort.replace(/^-/, "") === name;
    const act = () => { at.sort = at.sort === name ? `-${name}` : at.sort === `-${name}` ? "" : name; refresh(true); $("heads").querySelector(`[data-name="${name}"]`)?.focus(); };
    return make("th", { scope: "col", class: kind, "aria-sort": sorted ? (at.sort.startsWith("-") ? "descending" : "ascending") : "none" },
      make("button", { type: "button", text: words, title: words, "data-name": name, on: { click: act } }));
  }));
}
function drawRows(force = false) {
  if (!run) return;
  const list = $("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - BEYOND);
  const last = Math.min(view.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + BEYOND);
  if (!force && first === shown.first && last === shown.last) return;
  const focused = document.activeElement?.closest?.("#rows tr")?.dataset.sample;
  shown = { first, last };
  const columns = heads(), one = run.labels.indexOf(at.condition);
  const gap = (count) => { const cell = make("td"); cell.style.height = `${count * ROW}px`; return make("tr", { class: "gap", "aria-hidden": "true" }, cell); };
  const rows = [];
  if (first > 0) rows.push(gap(first));
  for (let place = first; place < last; place++) rows.push(drawRow(view[place], columns, one));
  if (last < view.length) rows.push(gap(view.length - last));
  $("rows").replaceChildren(...rows);
  if (focused !== undefined) $("rows").querySelector(`[data-sample="${focused}"] a`)?.focus({ preventScroll: true });
}
function drawRow(i, columns, one) {
  const cells = columns.map(({ name, kind }) => {
    if (name === "id") return make("td", { class: kind, title: run.ids[i] }, make("a", { href: linkTo(run.ids[i]), text: run.ids[i] }));
    if (name === "changed") return make("td", { class: kind, text: run.changes[i] || "–" });
    if (name === "own" || name === "other") {
      const [text, look] = run.columns.length ? shownAnswer(run.columns[name === "own" ? 0 : one], i) : ["", ""];
      return make("td", { class: `${kind} ${look}`, text });
    }
    const text = textAt({ question: run.question, right: run.gold, category: run.category }[name], i);
    return make("td", { class: kind, text: text ?? "–" });
  });
  return make("tr", { "data-sample": i, class: run.ids[i] === at.sample ? "chosen" : null }, ...cells);
}
const linkTo = (id) => {
  const place = new URLSearchParams(location.hash.slice(1));
  place.set("sample", id);
  return `#${place}`;
};
function refresh(place = true) {
  view = filtered();
  drawHeads();
  drawRows(true);
  counted();
  if (place) writePlace();
}
function reveal(i) {
  const place = view.indexOf(i), list = $("list");
  if (place < 0) return;
  const top = place * ROW, room = list.clientHeight - 2 * ROW;
  if (top < list.scrollTop || top > list.scrollTop + room) list.scrollTop = Math.max(0, top - room / 2);
  drawRows(true);
}

// One sample
function open(id, push = true) {
  at.sample = id;
  at.page = 0;
  writePlace(push);
  return drawSample(true);
}
function close() {
  const i = run.ids.indexOf(at.sample);
  at.sample = null;
  writePlace();
  $("sample").hidden = true;
  $("panes").classList.remove("open");
  drawRows(true);
  ($("rows").querySelector(`[data-sample="${i}"] a`) ?? $("list")).focus();
}
function step(by) {
  const i = run.ids.indexOf(at.sample), place = view.indexOf(i);
  const next = view[i < 0 || place < 0 ? (by > 0 ? 0 : view.length - 1) : place + by];
  if (next !== undefined) open(run.ids[next], false);
}
async function drawSample(focus) {
  const home = $("sample"), mine = ++opening;
  if (at.sample === null) { home.hidden = true; $("panes").classList.remove("open"); return; }
  home.hidden = false;
  $("panes").classList.add("open");
  const i = run.places.get(at.sample);
  if (i === undefined) {
    home.replaceChildren(make("header", {}, make("h3", { text: at.sample }), button("Close", close)), make("p", { class: "note", text: `The run ${run.name} has no sample of this id.` }));
    return;
  }
  reveal(i);
  let chunk;
  try { chunk = await chunkAt(chunkOf(i)); } catch (error) { if (mine === opening) home.replaceChildren(make("p", { class: "note", text: error.message })); return; }
  if (mine !== opening) return;
  const k = i - chunk.first, strings = chunk.strings;
  const sample = Object.fromEntries(Object.entries(chunk.samples).map(([name, column]) => [name, value(column, strings, k)]));
  const rows = [];
  chunk.of.forEach((of, r) => { if (of === k) rows.push({ r, label: run.labels[chunk.at[r]], marks: run.columns[chunk.at[r]].marks[i] }); });
  const field = (row, name) => (chunk.rows[name] ? value(chunk.rows[name], strings, row.r) : null);
  sample.gold = sample.answer ?? textAt(run.gold, i);
  sample.category ??= textAt(run.category, i);
  const top = home.getBoundingClientRect().top;
  home.replaceChildren(heading(i), asked(sample), ...answers(sample, rows, field, chunk));
  if (focus) { home.focus({ preventScroll: true }); if (top < 0 || top > innerHeight * 0.6) home.scrollIntoView({ block: "start" }); }
}
function heading(i) {
  const place = view.indexOf(i), id = run.ids[i];
  return make("header", {}, make("h3", { text: id }),
    button("‹", () => step(-1), { class: "plain small", "aria-label": "Previous sample", disabled: place === 0 }),
    button("›", () => step(1), { class: "plain small", "aria-label": "Next sample", disabled: place === view.length - 1 }),
    copier("Copy id", id), copier("Copy link", new URL(linkTo(id), location.href).href), button("Close", close, { class: "plain small" }));
}
function copier(words, text) {
  return button(words, async (event) => {
    const made = event.target;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = make("textarea", { class: "hidden" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    made.textContent = "Copied";
    setTimeout(() => { made.textContent = words; }, 1200);
  }, { class: "plain small" });
}
function long(text, tag, kind, fill = (home, part) => { home.textContent = part; }) {
  const home = make(tag, { class: kind, tabindex: "0" });
  if (text.length <= CUT + 200) { home.removeAttribute("tabindex"); fill(home, text); return [home]; }
  let cut = CUT;
  if (/[\ud800-\udbff]/.test(text[cut - 1])) cut++;
  fill(home, text.slice(0, cut));
  const more = button(`Show all ${text.length.toLocaleString("en")} characters`, () => { fill(home, text); more.remove(); home.focus(); }, { class: "plain small" });
  return [home, more];
}
function asked(sample) {
  const right = make("div", {}, ...long(sample.prompt ?? sample.question ?? "The run has not recorded this sample.", "p", "question"));
  const options = sample.options ?? [];
  if (options.length) {
    const isRight = (text, n) => sample.gold !== null && (sample.lettered ? String.fromCharCode(65 + n) === sample.gold : text === sample.gold);
    right.append(make("ul", { class: "options", "aria-label": "Options", tabindex: options.length > 20 ? "0" : null },
      ...options.slice(0, 60).map((text, n) => make("li", { class: isRight(String(text), n) ? "right" : null, text: sample.lettered ? `${String.fromCharCode(65 + n)}: ${text}` : text })),
      options.length > 60 ? make("li", { text: `and ${options.length - 60} more` }) : null));
  }
  const facts = [["right answer", sample.gold ?? "not known"]];
  if (sample.accepted?.length) facts.push(["accepted", sample.accepted.join("\n")]);
  if (sample.match) facts.push(["match", sample.match]);
  if (sample.category !== null) facts.push(["category", sample.category]);
  for (const [name, text] of Object.entries(sample.attributes ?? {}).slice(0, 30)) facts.push([name, text]);
  if (sample.cluster !== null) facts.push(["cluster", sample.cluster.length > 40 ? `${sample.cluster.slice(0, 12)}…` : sample.cluster]);
  right.append(factList(facts));
  return make("div", { class: "asked" }, make("div", {}, ...pictures(sample)), right);
}
const factList = (facts) => make("dl", { class: "facts" }, ...facts.flatMap(([name, text]) => [make("dt", { text: name }), make("dd", { text: typeof text === "string" ? text : JSON.stringify(text) })]));
function pictures(sample) {
  if (!sample.images?.length) return [make("p", { class: "missing", text: "No image" })];
  return sample.images.slice(0, 12).map((image, n) => {
    if (!image.file) return make("figure", { class: "picture" }, make("p", { class: "missing" }, make("b", { text: image.name }), image.why));
    const picture = make("img", { src: fileOf(image.file), alt: `Image ${n + 1} of the sample`, class: Math.max(...image.size) < 400 ? "tiny" : null, width: image.size[0], height: image.size[1] });
    const stage = make("div", { class: "stage" }, picture), figure = make("figure", { class: "picture" }, stage);
    picture.addEventListener("error", () => stage.replaceChildren(make("p", { class: "missing" }, make("b", { text: image.name }), "The page's copy of the image cannot be read.")));
    if (n === 0 && sample.boxes?.length) figure.append(boxes(sample.boxes, image.size, stage));
    if (n === 0 && sample.layers.length) figure.append(...overlays(sample.layers, stage));
    figure.append(make("figcaption", { text: `${image.name}, ${image.size[0]} × ${image.size[1]}` }));
    return figure;
  });
}
function boxes(found, size, stage) {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawn.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("aria-hidden", "true");
  for (const box of found.slice(0, 50)) {
    if (!Array.isArray(box) || box.length !== 4) continue;
    for (let twice = 0; twice < 2; twice++) {
      const frame = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const set = { x: box[0], y: box[1], width: Math.max(0, box[2] - box[0]), height: Math.max(0, box[3] - box[1]) };
      for (const [name, number] of Object.entries(set)) frame.setAttribute(name, number);
      drawn.append(frame);
    }
  }
  const show = () => { drawn.style.display = at.box ? "" : "none"; toggle.setAttribute("aria-pressed", at.box); };
  const toggle = button("Box", () => { at.box = !at.box; show(); }, { id: "box" });
  stage.append(drawn);
  show();
  return make("div", { class: "maps" }, toggle);
}
function overlays(layers, stage) {
  const canvas = make("canvas", { "aria-hidden": "true" }), words = make("p", { class: "caption", role: "status" });
  stage.append(canvas);
  const all = [["", null, 0]];
  layers.forEach((layer) => layer.names.forEach((name, n) => all.push([`${layer.layer}: ${name}`, layer, n])));
  const show = (chosen) => {
    const [name, layer, n] = all.find((one) => one[0] === chosen) ?? all[0];
    at.map = name;
    stage.classList.toggle("mapped", layer !== null);
    canvas.hidden = layer === null;
    buttons.forEach((one) => one.setAttribute("aria-pressed", one.dataset.map === name));
    words.textContent = layer === null ? "" : `${name}: sum ${layer.sum[n]}, largest ${layer.top[n]}`;
    if (layer !== null) paint(canvas, layer, n);
  };
  const several = layers.length > 1;
  const buttons = all.slice(0, 100).map(([name, layer, n]) => button(layer === null ? "No map" : several ? name : layer.names[n], () => show(name), { "data-map": name }));
  const home = make("fieldset", { class: "maps", id: "maps" }, make("legend", { class: "hidden", text: "Map over the image" }), ...buttons);
  show(at.map);
  return [home, words];
}
function paint(canvas, layer, n) {
  canvas.width = layer.width;
  canvas.height = layer.height;
  const levels = atob(layer.levels), size = layer.width * layer.height, context = canvas.getContext("2d");
  const image = context.createImageData(layer.width, layer.height);
  for (let i = 0; i < size; i++) {
    const level = levels.charCodeAt(n * size + i) / 255;
    image.data.set([224, 82, 0, 225 * level], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

// Its answers and texts
function answers(sample, rows, field, chunk) {
  if (!rows.length) return [make("p", { class: "note", text: "There are no rows of this sample yet." })];
  const pages = Math.ceil(rows.length / PAGE), page = Math.min(at.page, pages - 1);
  const some = rows.slice(page * PAGE, (page + 1) * PAGE);
  const scores = new Map(rows.map((row) => [row, field(row, "logprobs")]));
  const names = [...new Set(rows.flatMap((row) => Object.keys(scores.get(row) ?? {})))];
  const best = scores.get(rows[0]) ?? {};
  names.sort((a, b) => (b === sample.gold) - (a === sample.gold) || (best[b] ?? -1e9) - (best[a] ?? -1e9));
  const columns = names.slice(0, CANDIDATES);
  const table = make("table", { class: "answers" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "condition" }), make("th", { scope: "col", text: "answer" }), make("th", { scope: "col", text: "", "aria-label": "marks" }),
      ...columns.map((name) => make("th", { scope: "col", class: `p ${name === sample.gold ? "right" : ""}`, text: name, title: `Probability of ${name}, in %` })))),
    make("tbody", {}, ...some.map((row) => answerLine(row, scores.get(row), columns, sample, field))));
  const pager = pages < 2 ? null : make("div", { class: "pager" },
    button("‹", () => { at.page = page - 1; drawSample(false); }, { disabled: page === 0, "aria-label": "Earlier conditions" }),
    make("span", { class: "quiet", text: `conditions ${page * PAGE + 1} to ${page * PAGE + some.length} of ${rows.length}` }),
    button("›", () => { at.page = page + 1; drawSample(false); }, { disabled: page === pages - 1, "aria-label": "Later conditions" }));
  const words = columns.length ? `Probability of each candidate where the answer begins, in %${names.length > CANDIDATES ? `; ${CANDIDATES} of ${names.length} candidates` : ""}.` : "";
  return [make("h3", { text: "Answers" }), pager, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Answers" }, table), words ? make("p", { class: "caption", text: words }) : null,
    make("h3", { text: chunk.rows.text ? "Texts" : "Rows" }), make("div", { class: "texts" }, ...some.map((row) => textOf(row, field, chunk)))].filter(Boolean);
}
function answerLine(row, scores, columns, sample, field) {
  const failed = row.marks & bit("failed"), given = field(row, "answer");
  const look = row.marks & bit("right") ? "right" : row.marks & bit("wrong") ? "wrong" : given === null ? "none" : "";
  const tags = Object.keys(state.marks).filter((name) => !["right", "wrong"].includes(name) && row.marks & bit(name));
  return make("tr", {}, make("th", { scope: "row", text: row.label, title: row.label }),
    make("td", { class: `answer ${look}`, text: failed ? "–" : given === null ? "none read" : String(given), title: given === null ? null : String(given) }),
    make("td", {}, ...tags.map((name) => make("span", { class: `tag ${name}`, text: name === "donor" ? "donor's" : name, title: state.marks[name] }))),
    ...columns.map((name) => {
      const number = scores?.[name];
      if (number === undefined || number === null) return make("td", { class: "p", text: "–" });
      const p = Math.min(1, Math.exp(number)), cell = make("td", { class: `p ${name === sample.gold ? "gold" : ""}`, text: p >= 0.9995 ? "100" : p < 0.0005 ? "0" : (100 * p).toFixed(1) });
      cell.style.backgroundSize = `${(100 * p).toFixed(1)}% 100%`;
      return cell;
    }));
}
function textOf(row, field, chunk) {
  const text = field(row, "text"), error = field(row, "error"), donor = field(row, "donor");
  const home = make("section", {}, make("h4", {}, make("span", { text: row.label }), donor === null ? null : make("a", { href: linkTo(String(donor)), text: `donor ${donor}` }), text === null ? null : copier("Copy", text)));
  if (error !== null) home.append(make("p", { class: "note", text: String(error) }));
  if (text !== null) home.append(...long(text, "p", "text", marked));
  const more = make("details", {}, make("summary", { text: "All fields" }));
  more.addEventListener("toggle", () => {
    if (!more.open || more.childElementCount > 1) return;
    const names = Object.keys(chunk.rows).filter((name) => name !== "text" && field(row, name) !== null);
    more.append(factList(names.map((name) => { const found = field(row, name), said = typeof found === "string" ? found : JSON.stringify(found); return [name, said.length > CUT ? `${said.slice(0, CUT)}…` : said]; })));
  });
  home.append(more);
  if (text === null && error === null) more.open = true;
  return home;
}
function marked(home, text) {
  home.textContent = "";
  let from = 0, number = 0;
  for (const block of text.matchAll(BLOCK)) {
    if (number >= 40) break;
    home.append(text.slice(from, block.index));
    from = block.index + block[0].length;
    const opened = block[0].startsWith("<|lvr_start|>"), slots = block[0].split("<|lvr_sep|>").length - 1;
    if (opened) number++;
    const label = opened ? `block ${number}: ${slots} ${slots === 1 ? "slot" : "slots"}${block[0].endsWith("<|lvr_end|>") ? "" : ", not closed"}` : "end marker alone";
    home.append(make("mark", { "data-label": label, text: block[0] }));
  }
  home.append(text.slice(from));
}

// Runs
function options(home, names, chosen) {
  home.replaceChildren(make("option", { value: "", text: "any" }), ...names.slice(0, 300).map((name) => make("option", { value: name, text: name })));
  home.value = names.includes(chosen) ? chosen : "";
}
function controls() {
  options($("condition"), run.labels, at.condition);
  options($("category"), run.categories, at.category);
  $("category").closest("label").hidden = run.categories.length < 2;
  $("query").value = at.query;
  for (const box of $("marks").querySelectorAll("input")) box.checked = at.marks.includes(box.value);
  if ($("run")) $("run").value = run.number;
}
async function showRun(number) {
  const entry = state.runs[number], before = run;
  const found = before?.part === entry.index ? before : await load(entry.index);
  if (found !== before) {
    found.part = entry.index;
    found.deep = new Set();
    found.places = new Map(found.ids.map((id, i) => [id, i]));
    found.changes = found.ids.map((_, i) => found.columns.reduce((sum, column) => sum + ((column.marks[i] & bit("changed")) > 0), 0));
    found.categories = [...new Set(found.category)].filter((one) => one >= 0).map((one) => found.strings[one]).sort();
  }
  found.number = number;
  run = found;
  at.run = entry.name;
  if (showRun.section !== entry.section && (before !== null || number > 0)) {
    const opened = [...$("section").querySelectorAll("details[open] > summary")].map((one) => one.textContent);
    $("section").innerHTML = (await load(entry.section)).html;
    for (const one of $("section").querySelectorAll("details")) one.open = opened.includes(one.firstElementChild.textContent);
  }
  showRun.section = entry.section;
  dress($("section"));
  controls();
}
function dress(home) {
  for (const image of home.querySelectorAll("img[data-file]")) if (!image.src) image.src = fileOf(image.dataset.file);
  for (const part of home.querySelectorAll("details[data-part]")) {
    const fill = async () => { if (part.open && !part.dataset.filled) { part.dataset.filled = "yes"; part.lastElementChild.innerHTML = (await load(part.dataset.part)).html; } };
    part.addEventListener("toggle", fill);
    fill();
  }
}
async function go(focus) {
  readPlace();
  const number = Math.max(0, state.runs.findIndex((one) => one.name === at.run)), query = run?.number === number ? run.query : undefined;
  if (!run || run.number !== number) await showRun(number); else controls();
  refresh(false);
  if (at.query !== query) { run.query = at.query; searchTexts(); }
  await drawSample(focus);
}
async function look() {
  try {
    const found = await readState();
    if (found.written !== state.written) {
      state = found;
      const top = $("list").scrollTop, focused = document.activeElement;
      if (look.overview !== state.overview) $("overview").innerHTML = (await load(state.overview)).html;
      look.overview = state.overview;
      dress($("overview"));
      await showRun(Math.max(0, state.runs.findIndex((one) => one.name === at.run)));
      refresh(false);
      $("list").scrollTop = top;
      drawRows(true);
      if (at.query) searchTexts();
      if (!$("sample").contains(document.activeElement)) await drawSample(false);
      if (focused?.isConnected && focused !== document.body) focused.focus({ preventScroll: true });
    }
    $("live").textContent = state.live ? `live, ${new Date(state.written).toLocaleTimeString()}` : "";
  } catch (error) { state.written = ""; $("live").textContent = "not up to date"; }
  if (state.live) setTimeout(look, LOOK);
}

// What a reader does
function listen() {
  let soon = 0;
  const changed = () => { $("list").scrollTop = 0; refresh(true); };
  $("query").addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(() => { at.query = run.query = $("query").value; ticket++; run.deep = new Set(); changed(); searchTexts(); }, 150); });
  $("condition").addEventListener("change", () => { at.condition = $("condition").value; changed(); });
  $("category").addEventListener("change", () => { at.category = $("category").value; changed(); });
  $("marks").addEventListener("change", () => { at.marks = [...$("marks").querySelectorAll("input:checked")].map((one) => one.value); changed(); });
  $("tools").addEventListener("submit", (event) => event.preventDefault());
  $("tools").addEventListener("reset", () => setTimeout(() => { Object.assign(at, { condition: "", category: "", marks: [], query: "" }); run.query = ""; ticket++; run.deep = new Set(); controls(); changed(); }));
  $("run")?.addEventListener("change", () => { location.hash = new URLSearchParams({ run: state.runs[$("run").value].name }); });
  $("list").addEventListener("scroll", () => requestAnimationFrame(() => drawRows()), { passive: true });
  new ResizeObserver(() => drawRows()).observe($("list"));
  $("rows").addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-sample]");
    if (!line || event.ctrlKey || event.metaKey || event.shiftKey || String(getSelection())) return;
    event.preventDefault();
    open(run.ids[line.dataset.sample]);
  });
  addEventListener("hashchange", () => go(true));
  addEventListener("popstate", () => go(false));
  $("keys").addEventListener("click", () => $("help").showModal());
  const themes = () => document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const turn = () => { const theme = themes() === "dark" ? "light" : "dark"; document.documentElement.dataset.theme = theme; try { localStorage.setItem("lantern-theme", theme); } catch { /* kept for this visit only */ } };
  $("theme").addEventListener("click", turn);
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input[type=search], select, textarea, dialog");
    if (event.key === "Escape" && at.sample !== null && !$("help").open) { close(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const maps = [...document.querySelectorAll("#maps button")], place = maps.findIndex((one) => one.getAttribute("aria-pressed") === "true");
    const acts = { "/": () => $("query").focus(), j: () => step(1), k: () => step(-1), c: turn, b: () => $("box")?.click(), "?": () => $("help").showModal(),
      "[": () => maps[place - 1]?.click(), "]": () => maps[place + 1]?.click() };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
}
async function start() {
  try { const theme = localStorage.getItem("lantern-theme"); if (theme) document.documentElement.dataset.theme = theme; } catch { /* storage is off */ }
  try {
    state = await readState();
    look.overview = state.overview;
    dress($("overview"));
    listen();
    await go(true);
    if (state.live) setTimeout(look, LOOK);
    performance.mark("lantern-ready");
  } catch (error) { say(`The samples cannot be shown: ${error.message}.`); }
}
start();
})();
