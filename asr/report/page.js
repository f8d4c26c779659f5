"use strict";
(() => {
const sets = JSON.parse(document.getElementById("content").textContent);
if (!sets.length) return;
const $ = id => document.getElementById(id);
const HEIGHT = 26, MARGIN = 12;                       // of a row; rows drawn beyond what is seen
const COLOURS = ["#2463a8", "#c2591a", "#2f8557", "#8b4a9c", "#7a6a1f", "#a33a4b"];
const state = { set: null, first: 0, second: -1, columns: [], shown: [], sort: null, down: false, picked: null };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;    // never HTML: transcripts may hold anything
  return made;
}

/* The columns of the table: title, name in a search, width in pixels (0: a share of the rest), value of a row, and whether it
   is a number. */
function columns() {
  const { set, first, second } = state, list = [];
  const add = (title, name, width, value, number = false) => list.push({ title, name, width, value, number });
  const rate = (row, system) => row[2] ? 100 * row[3][system][3] / row[2] : row[3][system][3] ? Infinity : 0;
  add("id", "id", 190, row => row[0]);
  set.columns.forEach((name, index) => {
    const values = set.rows.map(row => row[1][index]).filter(value => value);
    const number = values.length > 0 && values.every(value => isFinite(value)) && name !== "speaker";
    add(name, name, number ? 90 : 130,
        row => number ? (row[1][index] ? +row[1][index] : NaN) : row[1][index] || "", number);
  });
  add("words", "words", 70, row => row[2], true);
  const both = second >= 0;
  add(both ? "errors 1" : "errors", both ? "errors1" : "errors", 94, row => row[3][first][3], true);
  add(both ? "WER 1" : "WER", both ? "wer1" : "wer", 74, row => rate(row, first), true);
  if (both) {
    add("errors 2", "errors2", 94, row => row[3][second][3], true);
    add("WER 2", "wer2", 74, row => rate(row, second), true);
    add("difference", "difference", 104, row => row[3][first][3] - row[3][second][3], true);
  }
  add("reference", "ref", 0, row => row[3][0][0]);
  add(both ? "hypothesis 1" : "hypothesis", both ? "hyp1" : "hyp", 0, row => row[3][first][1]);
  if (both) add("hypothesis 2", "hyp2", 0, row => row[3][second][1]);
  return list;
}

/* A search: words anywhere; name:text, name=text, name>number, name<number; quotes hold spaces together; - says not. */
function parse(query) {
  const tests = [], unknown = [];
  for (const [, not, name, operator, quoted, plain] of query.matchAll(/(-?)(?:(\w+)(:|>=|<=|=|>|<))?(?:"([^"]*)"?|(\S+))/g)) {
    const wanted = (quoted ?? plain).toLowerCase();
    let column = null, test;
    if (name) {
      column = state.columns.find(each => each.name.toLowerCase() === name.toLowerCase());
      if (!column && name.toLowerCase() === "errors") column = state.columns.find(each => each.name === "errors1");
      if (!column && name.toLowerCase() === "hyp") column = state.columns.find(each => each.name === "hyp1");
    }
    if (name && !column) { unknown.push(name); continue; }
    if (!column) test = row => state.columns.some(each => String(each.value(row)).toLowerCase().includes(wanted));
    else if (operator === ":") test = row => String(column.value(row)).toLowerCase().includes(wanted);
    else if (operator === "=") test = row => column.number ? column.value(row) === +wanted : String(column.value(row)).toLowerCase() === wanted;
    else test = row => ({ ">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b })[operator](column.value(row), +wanted);
    tests.push(not ? row => !test(row) : test);
  }
  return { tests, unknown };
}

const shown = value => isFinite(value) && value !== "" ? String(+(+value).toFixed(3)) : value;

function filter() {
  const { set, first, second } = state;
  const { tests, unknown } = parse($("search").value);
  if ($("wrong").checked) tests.push(row => row[3][first][3] > 0 || (second >= 0 && row[3][second][3] > 0));
  if ($("differ").checked && second >= 0) tests.push(row => row[3][first][1] !== row[3][second][1]);
  if ($("heard").checked) tests.push(row => row[0] in set.media);
  state.shown = set.rows.filter(row => tests.every(test => test(row)));
  const by = state.columns.find(each => each.name === state.sort);
  if (by) {
    const sign = state.down ? -1 : 1;
    const least = value => Number.isNaN(value) ? Infinity * sign : value;   // what has no number comes last
    state.shown.sort((one, other) => {
      const a = by.value(one), b = by.value(other);
      const order = by.number ? (least(a) === least(b) ? 0 : least(a) < least(b) ? -1 : 1) : a < b ? -1 : a > b ? 1 : 0;
      return sign * order || (one[0] < other[0] ? -1 : 1);
    });
  }
  $("count").textContent = unknown.length ? `no column ${unknown.join(", ")}; there are ${state.columns.map(each => each.name).join(", ")}`
    : `${state.shown.length.toLocaleString("en")} of ${set.rows.length.toLocaleString("en")}`;
  $("body").style.height = `${state.shown.length * HEIGHT}px`;
  draw();
}

function widths() {
  const fixed = state.columns.reduce((sum, each) => sum + each.width, 0), texts = state.columns.filter(each => !each.width).length;
  const share = Math.max(240, Math.floor(($("table").clientWidth - fixed) / texts));
  $("head").style.gridTemplateColumns = state.columns.map(each => `${each.width || share}px`).join(" ");
}

function head() {
  widths();
  $("head").replaceChildren(...state.columns.map(column => {
    const button = element("button", column.number ? "n" : "", column.title);
    if (column.name === state.sort) button.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    button.dataset.column = column.name;
    button.addEventListener("click", () => {
      state.down = state.sort === column.name ? !state.down : column.number;
      state.sort = column.name;
      head();
      $("table").scrollTop = 0;
      filter();
    });
    return button;
  }));
}

function draw() {
  const table = $("table"), from = Math.max(0, Math.floor(table.scrollTop / HEIGHT) - MARGIN);
  const to = Math.min(state.shown.length, Math.ceil((table.scrollTop + table.clientHeight) / HEIGHT) + MARGIN);
  const template = $("head").style.gridTemplateColumns;
  const rows = [];
  for (let index = from; index < to; index++) {
    const row = state.shown[index], made = element("div", "row" + (row === state.picked ? " picked" : ""));
    made.style.top = `${index * HEIGHT}px`;
    made.style.gridTemplateColumns = template;
    made.dataset.id = row[0];
    for (const column of state.columns) {
      const value = column.value(row);
      const text = !column.number ? value : Number.isNaN(value) ? "" : value === Infinity ? "-" : column.name.startsWith("wer") ? value.toFixed(1) : shown(value);
      const cell = element("span", column.number ? "n" : "", text);
      if (column.name.startsWith("errors") && value > 0) cell.classList.add("bad");
      if (!column.number) cell.title = value;
      made.append(cell);
    }
    made.addEventListener("click", () => pick(row));
    rows.push(made);
  }
  $("body").replaceChildren(...rows);
}

function pick(row) {
  state.picked = row;
  draw();
  const detail = $("detail"), { set } = state;
  stop();
  detail.hidden = false;
  detail.replaceChildren(element("h3", "", row[0]));
  const known = set.columns.map((name, index) => row[1][index] ? `${name} ${name === "speaker" ? row[1][index] : shown(row[1][index])}` : "").filter(text => text);
  if (known.length) detail.append(element("div", "small", known.join(", ")));
  for (const system of chosen()) detail.append(alignment(row, system));
  if (row[0] in set.media) show(row, detail);
  else detail.append(element("p", "small", "No sound of this utterance in the page."));
}

const chosen = () => state.second >= 0 && state.second !== state.first ? [state.first, state.second] : [state.first];

function alignment(row, system) {
  const [ref, hyp, letters, errors] = row[3][system];
  const ours = (ref ?? row[3][0][0]).split(" "), theirs = hyp.split(" "), box = element("div", "alignment");
  const title = element("div");
  title.append(element("span", `dot c${system % 6}`), `${state.set.systems[system]}: ${errors} error${errors === 1 ? "" : "s"}`);
  box.append(title);
  let i = 0, j = 0;
  for (const letter of letters) {
    const step = element("span", `step ${letter}`);
    step.title = { C: "correct", S: "substituted", D: "missed", I: "inserted", d: "optional", i: "optional" }[letter];
    step.append(element("div", "", "Ii".includes(letter) ? "" : ours[i++]), element("div", "", "Dd".includes(letter) ? "" : theirs[j++]));
    box.append(step);
  }
  if (!letters) box.append(element("span", "step C", "(nothing said, nothing heard)"));
  return box;
}

/* ---- sound and picture ---- */
let player = null;
function stop() {
  if (!player) return;
  const url = player.src;
  player.pause();
  player.removeAttribute("src");                      // it may still be loading: first let go, then take the sound away
  player.load();
  URL.revokeObjectURL(url);
  player = null;
}

function show(row, detail) {
  const number = sets.indexOf(state.set), media = JSON.parse($(`m-${number}-${state.set.media[row[0]]}`).textContent);
  const bytes = Uint8Array.from(atob(media.audio.split(",")[1]), character => character.charCodeAt(0));
  const audio = player = element("audio");
  audio.controls = true;
  audio.preload = "auto";
  audio.src = URL.createObjectURL(new Blob([bytes], { type: "audio/flac" }));
  const canvas = element("canvas"), picture = new Image();
  detail.append(audio, canvas);
  const paint = () => plot(canvas, picture, media, audio.currentTime);
  picture.onload = paint;
  picture.src = media.picture;
  const follow = () => { if (player !== audio) return; paint(); if (!audio.paused) requestAnimationFrame(follow); };
  audio.addEventListener("play", follow);
  for (const event of ["seeked", "pause", "ended"]) audio.addEventListener(event, follow);
  canvas.addEventListener("click", event => {
    const box = canvas.getBoundingClientRect();
    audio.currentTime = Math.min(media.seconds, Math.max(0, (event.clientX - box.left) / box.width * media.seconds));
  });
  state.paint = paint;
}

function plot(canvas, picture, media, now) {
  const systems = chosen().filter(system => media.words[system]), scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, tall = 170, words = 20, curve = 74, axis = 18;
  const height = tall + axis + systems.reduce((sum, system) => sum + words + (media.posteriors[system] ? curve : 0), 0);
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d"), x = seconds => seconds / media.seconds * width;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.imageSmoothingEnabled = true;
  if (picture.complete && picture.naturalWidth) pen.drawImage(picture, 0, 0, x(picture.naturalWidth / 100), tall);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  let top = tall;
  for (const system of systems) {
    const colour = COLOURS[system % 6];
    media.words[system].forEach(([text, start, end], index) => {
      pen.fillStyle = index % 2 ? colour + "38" : colour + "22";
      pen.fillRect(x(start), top + 2, Math.max(2, x(end) - x(start)), words - 4);
      pen.fillStyle = colour + "66";
      pen.fillRect(x(start), 0, 1, tall);
      pen.fillStyle = "#1c2330";
      pen.textAlign = "left";
      const next = media.words[system][index + 1];    // a word in a hurry is squeezed, not written over the next
      const left = next ? x(start) + 2 : Math.max(0, Math.min(x(start) + 2, width - pen.measureText(text).width - 2));
      pen.fillText(text, left, top + words / 2, next ? Math.max(10, x(next[1]) - x(start) - 3) : undefined);
    });
    top += words;
    const heard = media.posteriors[system];
    if (!heard) continue;
    pen.fillStyle = "#f6f7f9";
    pen.fillRect(0, top, width, curve - 4);
    const labels = [];
    heard.runs.forEach(([token, first, values], index) => {
      const hue = (index * 137) % 360, base = top + curve - 6, room = curve - 22;
      pen.fillStyle = pen.strokeStyle = `hsl(${hue} 60% 42%)`;
      pen.beginPath();
      pen.moveTo(x(first * heard.step), base);
      values.forEach((value, step) => pen.lineTo(x((first + step + 0.5) * heard.step), base - room * value / 100));
      pen.lineTo(x((first + values.length) * heard.step), base);
      pen.globalAlpha = 0.35;
      pen.fill();
      pen.globalAlpha = 1;
      pen.stroke();
      const peak = values.indexOf(Math.max(...values));
      labels.push({ token, hue, value: values[peak], at: x((first + peak + 0.5) * heard.step), y: base - room * values[peak] / 100 - 7 });
    });
    const taken = [];                                 // the surest tokens get their names first; none is written over another
    for (const { token, hue, value, at: peak, y } of labels.sort((one, other) => other.value - one.value)) {
      const half = pen.measureText(token).width / 2 + 1, at = Math.min(width - half, Math.max(half, peak));
      if (value < 20 || taken.some(([left, right, line]) => at - half < right && at + half > left && Math.abs(line - y) < 12)) continue;
      taken.push([at - half, at + half, y]);
      pen.textAlign = "center";
      pen.fillStyle = `hsl(${hue} 60% 32%)`;
      pen.fillText(token, at, y);
    }
    top += curve;
  }
  pen.fillStyle = "#667085";
  pen.textAlign = "center";
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60], every = steps.find(step => x(step) > 60) ?? 60;
  for (let second = 0; second <= media.seconds; second += every) {
    pen.fillRect(x(second), height - axis, 1, 4);
    pen.fillText(`${+second.toFixed(1)} s`, Math.min(width - 14, Math.max(12, x(second))), height - axis / 2 + 2);
  }
  pen.fillStyle = "#00c2a8";
  pen.fillRect(x(now), 0, 1.5, height - axis);
}

/* ---- controls ---- */
function options(select, names, none) {
  const list = names.map((name, index) => { const made = element("option", "", name); made.value = index; return made; });
  if (none) { const made = element("option", "", none); made.value = -1; list.unshift(made); }
  select.replaceChildren(...list);
}

function choose(number) {
  const set = state.set = sets[number];
  options($("first"), set.systems);
  options($("second"), set.systems, "none");
  $("second-label").hidden = $("differ-label").hidden = set.systems.length < 2;
  $("first").value = 0;
  $("second").value = set.systems.length > 1 ? 1 : -1;
  state.picked = null;
  state.sort = null;
  stop();
  $("detail").hidden = true;
  systems();
}

function systems() {
  state.first = +$("first").value;
  state.second = +$("second").value;
  if (state.second === state.first) { state.second = -1; $("second").value = -1; }
  state.columns = columns();
  if (!state.columns.some(each => each.name === state.sort)) {
    state.sort = state.second >= 0 ? "errors1" : "errors";
    state.down = true;
  }
  head();
  filter();
  if (state.picked) pick(state.picked);
}

options($("set"), sets.map(set => set.name));
$("set-label").hidden = sets.length < 2;
$("set").addEventListener("change", () => choose(+$("set").value));
for (const id of ["first", "second"]) $(id).addEventListener("change", systems);
for (const id of ["wrong", "differ", "heard"]) $(id).addEventListener("change", () => { $("table").scrollTop = 0; filter(); });
let waiting = 0;
$("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { $("table").scrollTop = 0; filter(); }, 80);
});
$("table").addEventListener("scroll", draw, { passive: true });
$("table").addEventListener("keydown", event => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !state.shown.length) return;
  event.preventDefault();
  const index = Math.min(state.shown.length - 1, Math.max(0, state.shown.indexOf(state.picked) + step));
  pick(state.shown[index]);
  const top = index * HEIGHT, table = $("table");
  if (top < table.scrollTop) table.scrollTop = top;
  if (top + 2 * HEIGHT > table.scrollTop + table.clientHeight - 30) table.scrollTop = top - table.clientHeight + 3 * HEIGHT + 30;
});
window.addEventListener("resize", () => { widths(); draw(); if (state.paint && !$("detail").hidden) state.paint(); });
choose(0);
})();
