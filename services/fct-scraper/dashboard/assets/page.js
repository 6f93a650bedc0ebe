// The page shows texts of courts only through textContent: nothing in them becomes markup.
"use strict";

const $ = (id) => document.getElementById(id);

/** element returns a new element with a text and attributes. */
function element(name, text, attributes = {}) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

/** setText changes a text only if it differs, so that a screen reader does not repeat it. */
function setText(e, text) { if (e.textContent !== text) e.textContent = text; }

/** api requests a path and returns its document, or throws an error with a message for people. */
async function api(path, options) {
  const response = await fetch(path, options);
  if (response.status === 401) location.assign("/login");
  const body = await response.json().catch(() => ({ error: { message: "status " + response.status } }));
  if (!response.ok) throw new Error(body.error.message);
  return body;
}

const number = (n) => n.toLocaleString("en-CA");
const pad = (n) => String(n).padStart(2, "0");

/** duration writes seconds as 1 h 05 min, 3 min 20 s or 12 s. */
function duration(seconds) {
  const s = Math.max(0, Math.round(seconds)), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  if (h >= 48) return Math.floor(h / 24) + " d " + (h % 24) + " h";
  if (h > 0) return h + " h " + pad(m) + " min";
  return m > 0 ? m + " min " + pad(s % 60) + " s" : s + " s";
}

/** seconds writes a short time with what matters of it. */
const seconds = (s) => Number(s.toPrecision(2)) + " s";

/** clock writes a time of today as 14:05:09, another one with its date. */
function clock(time) {
  const at = new Date(time), hours = pad(at.getHours()) + ":" + pad(at.getMinutes()) + ":" + pad(at.getSeconds());
  if (at.toDateString() === new Date().toDateString()) return hours;
  return at.getFullYear() + "-" + pad(at.getMonth() + 1) + "-" + pad(at.getDate()) + " " + hours;
}

// ---- The list of runs ----

let current = "";

async function showRuns() {
  let runs;
  try {
    runs = await api("/api/runs");
  } catch {
    return; // the state of the connection is shown by the stream of events
  }
  $("no-runs").hidden = runs.length > 0;
  const focused = document.activeElement?.closest?.("#runs a")?.hash;
  $("runs").replaceChildren(...runs.map((r) => {
    const link = element("a", undefined, { href: "#" + r.run_id });
    if (r.run_id === current) link.setAttribute("aria-current", "true");
    const done = r.planned ? number(r.done) + " of " + number(r.planned) : number(r.done);
    link.append(element("span", r.start_id + " to " + r.end_id, { class: "numbers" }),
      element("span", statusName(r.status) + " · " + done + " · " + clock(r.started_at), { class: "what" }));
    const item = element("li");
    item.append(link);
    return item;
  }));
  if (focused) document.querySelector(`#runs a[href="${CSS.escape(focused).replace("\\#", "#")}"]`)?.focus();
  if (!current && runs.length > 0) {
    const running = runs.find((r) => r.status === "running") || runs[0];
    select(running.run_id);
  }
}

const statusName = (status) => status.replace("_", " ");

// ---- One run ----

let stream, run, letters = {}, states = [], first = 1, prefix = "", suffix = "";

function select(id) {
  if (id === current) return;
  current = id;
  run = undefined;
  states = [];
  $("problem").hidden = true;
  history.replaceState(null, "", "#" + id);
  for (const a of $("runs").querySelectorAll("a")) {
    if (a.hash === "#" + id) a.setAttribute("aria-current", "true");
    else a.removeAttribute("aria-current");
  }
  connect();
}

function connect() {
  stream?.close();
  const id = current;
  const s = stream = new EventSource("/api/runs/" + encodeURIComponent(id) + "/events");
  const on = (name, handle) => s.addEventListener(name, (e) => { if (id === current) handle(JSON.parse(e.data)); });
  on("map", showMap);
  on("map-changed", changeMap);
  on("status", showStatus);
  on("started", showRuns);
  on("finished", showRuns);
  s.addEventListener("open", () => setConnection("live", "Live"));
  s.addEventListener("error", () => {
    setConnection("lost", "Connection lost, trying again");
    if (s.readyState === EventSource.CLOSED && s === stream) { // the server refused: the reason is in the API
      api("/api/runs/" + encodeURIComponent(id)).catch((error) => showProblem(error.message));
      setTimeout(() => { if (s === stream) connect(); }, 3000);
    }
  });
}

function setConnection(state, text) {
  $("connection").dataset.state = state;
  setText($("connection"), text);
}

function showProblem(text) {
  setText($("problem"), text);
  $("problem").hidden = !text;
}

/** phaseOf returns the name, the kind and the explanation of what a run does. */
function phaseOf(r) {
  const kinds = { completed: "good", stopped: "warn", safe_stop: "bad", blocked: "bad", error: "bad" };
  if (r.status !== "running") return [statusName(r.status), kinds[r.status] || "warn", r.reason];
  const phase = r.phase || "fetching";
  const texts = {
    searching: "the highest number is searched; how many there are is not known yet",
    paused: "no request is sent until the run is resumed",
  };
  const until = r.wait && new Date(r.wait.until);
  const wait = until ? "until " + clock(until) + ", " + duration((until - Date.now()) / 1000) + " left: " + r.wait.reason : "";
  return [phase, phase === "waiting" || phase === "paused" ? "warn" : "busy",
    wait || r.reason || texts[phase] || ""];
}

function showStatus(r) {
  run = r;
  $("details").hidden = false;
  showProblem("");
  const [, series, year] = /^(.*)-\d+-(\d\d)$/.exec(r.start_id) || [];
  prefix = series + "-";
  suffix = "-" + year;
  setText($("run-title"), r.start_id + " to " + r.end_id);
  document.title = (r.planned ? Math.floor(100 * r.done / r.planned) + " % " : "") + statusName(r.status) + " – " + r.start_id + " – fct-scraper";
  showPhase();
  const share = r.planned ? Math.min(1, r.done / r.planned) : 0;
  setText($("progress-text"), r.planned ? `${number(r.done)} of ${number(r.planned)} numbers, ${Math.floor(share * 1000) / 10} %` : `${number(r.done)} numbers`);
  if (r.planned) $("progress").value = share;
  else $("progress").removeAttribute("value");
  const running = r.status === "running";
  const figures = [["success", number(r.succeeded)], ["no-record", number(r.no_record)], ["failed", number(r.failed)]];
  if (running) {
    const left = r.left_seconds, unknown = "unknown" + (r.left_unknown ? " while " + r.left_unknown : "");
    figures.push(["numbers a minute", number(Math.round(r.rate_per_minute * 10) / 10)],
      ["time left, estimated", left === null ? unknown : duration(left)],
      ["done at, estimated", left === null ? unknown : clock(Date.now() + left * 1000)],
      ["in flight", number(r.in_flight)]);
    if (r.pause) figures.push(["pause between requests", seconds(r.pause.min) + (r.pause.max > r.pause.min ? " to " + seconds(r.pause.max) : "")]);
  }
  figures.push(["started", clock(r.started_at)]);
  setText($("run-id"), r.run_id);
  $("figures").replaceChildren(...figures.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  }));
  const paused = r.phase === "paused";
  const commands = [$("pause"), $("resume"), $("stop")], focused = commands.includes(document.activeElement) && document.activeElement;
  $("stop").hidden = !running;
  $("pause").hidden = !running || paused;
  $("resume").hidden = !running || !paused;
  if (focused && focused.hidden) (commands.find((b) => !b.hidden) || $("run")).focus();
  showErrors(r.errors || []);
}

function showPhase() {
  if (!run) return;
  const [name, kind, text] = phaseOf(run);
  setText($("phase"), name);
  $("phase").dataset.kind = kind;
  setText($("phase-text"), text);
}

function showErrors(errors) {
  $("no-errors").hidden = errors.length > 0;
  $("errors").hidden = errors.length === 0;
  const focused = document.activeElement?.closest?.("#errors button")?.textContent;
  $("errors").tBodies[0].replaceChildren(...errors.map((e) => {
    const row = element("tr"), cell = element("td"), button = element("button", e.case_id, { type: "button", class: "link" });
    button.addEventListener("click", () => showHistory(e.case_id));
    cell.append(button);
    row.append(element("td", number(e.count)), element("td", e.error), cell);
    if (e.case_id === focused) requestAnimationFrame(() => button.focus());
    return row;
  }));
}

// ---- The map ----

const canvas = $("map"), pen = canvas.getContext("2d");
let columns = 1, cell = 10, scale = 1, cursor = -1, colours = {}, counts = {};

/** showMap decodes a complete map: a letter and how many numbers in a row have that state. */
function showMap(m) {
  letters = { ...m.states };
  first = m.start;
  states = [];
  counts = {};
  for (const [, letter, length] of m.runs.matchAll(/([A-Z])(\d*)/g)) {
    const n = Number(length || 1);
    counts[letter] = (counts[letter] || 0) + n;
    for (let i = 0; i < n; i++) states.push(letter);
  }
  if (cursor >= states.length) cursor = -1;
  layOut();
  showLegend();
}

function changeMap(m) {
  for (const [n, letter] of m.changed) {
    const at = n - first;
    if (at < 0 || at >= states.length) continue;
    counts[states[at]]--;
    counts[letter] = (counts[letter] || 0) + 1;
    states[at] = letter;
    if (!letters[letter]) { // the one state that a map without such numbers does not name
      letters[letter] = "skipped";
      layOut();
    }
    drawCell(at);
    if (at === cursor) showCursor();
  }
  showLegend();
}

/** className is the part of the names of classes and variables that stands for a state. */
const className = (state) => state.replace(" ", "-");

function showLegend() {
  const list = $("legend");
  const order = ["success", "no-record", "unconfirmed", "failed", "blocked", "in flight", "unseen", "skipped"];
  const wanted = Object.keys(letters).sort((a, b) => order.indexOf(letters[a]) - order.indexOf(letters[b]));
  if (list.children.length !== wanted.length) {
    list.replaceChildren(...wanted.map((letter) => {
      const item = element("li");
      item.append(element("span", letter, { class: "numbermap-key numbermap-on-" + className(letters[letter]), "aria-hidden": "true" }), " ", element("span"));
      return item;
    }));
  }
  wanted.forEach((letter, i) => setText(list.children[i].lastChild, letters[letter] + " " + number(counts[letter] || 0)));
}

/** layOut chooses the size of the cells for the width of the page, and draws all. */
function layOut() {
  const width = canvas.clientWidth;
  if (!width || !states.length) { canvas.height = 0; return; }
  const least = states.length > 40000 ? 2 : 3; // else the map of a phone is many screens high
  cell = Math.max(least, Math.min(24, Math.floor(Math.sqrt(width * 520 / states.length))));
  columns = Math.max(10, (cell < 10 ? Math.floor : Math.round)(width / cell / 10) * 10);
  if (Math.floor(width / columns) < least) columns -= 10;
  cell = Math.min(24, Math.floor(width / columns));
  const rows = Math.ceil(states.length / columns);
  scale = window.devicePixelRatio || 1;
  canvas.style.height = rows * cell + "px";
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(rows * cell * scale);
  const style = getComputedStyle(document.documentElement);
  colours = {};
  for (const [letter, name] of Object.entries(letters)) {
    colours[letter] = [style.getPropertyValue("--numbermap-" + className(name)).trim(), style.getPropertyValue("--numbermap-on-" + className(name)).trim()];
  }
  colours.cursor = [style.getPropertyValue("--text").trim(), style.getPropertyValue("--ground").trim()];
  for (let at = 0; at < states.length; at++) drawCell(at);
  drawCursor();
}

function drawCell(at) {
  const gap = cell > 3 ? 1 : 0, side = (cell - gap) * scale;
  const x = at % columns * cell * scale, y = Math.floor(at / columns) * cell * scale;
  const [fill, ink] = colours[states[at]] || ["#888", "#000"];
  pen.fillStyle = fill;
  pen.fillRect(x, y, side, side);
  if (cell >= 16) {
    pen.fillStyle = ink;
    pen.font = Math.round(cell * .55) * scale + "px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(states[at], x + side / 2, y + side / 2 + scale);
  }
}

function drawCursor() {
  if (cursor < 0) return;
  const x = cursor % columns * cell * scale, y = Math.floor(cursor / columns) * cell * scale, side = cell * scale;
  const width = Math.max(1, Math.min(2, cell / 5)) * scale;
  for (const [inset, colour] of [[-width, colours.cursor[1]], [0, colours.cursor[0]]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(x + inset + width / 2, y + inset + width / 2, side - 2 * inset - width, side - 2 * inset - width);
  }
}

const caseID = (at) => prefix + (first + at) + suffix;

function showCursor() {
  drawCursor();
  setText($("map-cell"), cursor < 0 ? "" : caseID(cursor) + ": " + letters[states[cursor]]);
}

function moveCursor(to) {
  const from = cursor;
  cursor = Math.max(0, Math.min(states.length - 1, to));
  if (from >= 0) layOut();
  showCursor();
}

canvas.addEventListener("keydown", (e) => {
  const steps = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -10 * columns, PageDown: 10 * columns,
    Home: -states.length, End: states.length,
  };
  if (!states.length || e.ctrlKey || e.altKey || e.metaKey) return;
  if (e.key in steps) {
    const to = cursor < 0 ? 0 : cursor + steps[e.key];
    const leaves = e.key.startsWith("Arrow") && (to < 0 || to >= states.length);
    moveCursor(leaves ? cursor : to);
  } else if ((e.key === "Enter" || e.key === " ") && cursor >= 0) {
    showHistory(caseID(cursor));
  } else {
    return;
  }
  e.preventDefault();
});
canvas.addEventListener("focus", () => { if (cursor < 0 && states.length) moveCursor(0); });

function cellAt(e) {
  const box = canvas.getBoundingClientRect(), column = Math.floor((e.clientX - box.left) / cell);
  const at = Math.floor((e.clientY - box.top) / cell) * columns + column;
  return column < columns && at >= 0 && at < states.length ? at : -1;
}
canvas.addEventListener("click", (e) => {
  const at = cellAt(e);
  if (at < 0) return;
  moveCursor(at);
  showHistory(caseID(at));
});
canvas.addEventListener("mousemove", (e) => {
  const at = cellAt(e);
  canvas.title = at < 0 ? "" : caseID(at) + ": " + letters[states[at]];
});
new ResizeObserver(layOut).observe(canvas.parentElement);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", layOut);

$("find").addEventListener("submit", (e) => {
  e.preventDefault();
  const n = Number($("number").value);
  if (n - first >= 0 && n - first < states.length) moveCursor(n - first);
  showHistory(prefix + n + suffix);
});

// ---- Dialogs ----

async function showHistory(id) {
  setText($("history-title"), id);
  setText($("history-text"), "Loading …");
  if (!$("history").open) $("history").showModal();
  let text;
  try {
    text = (await api("/api/cases/" + encodeURIComponent(id))).text;
  } catch (error) {
    text = error.message;
  }
  if ($("history-title").textContent === id) setText($("history-text"), text);
}

/** confirmed asks before a command, and returns whether it is wanted. */
function confirmed(title, text, yes) {
  setText($("confirm-title"), title);
  setText($("confirm-text"), text);
  setText($("confirm-yes"), yes);
  $("confirm").returnValue = "no";
  $("confirm").showModal();
  return new Promise((resolve) => $("confirm").addEventListener("close", () => resolve($("confirm").returnValue === "yes"), { once: true }));
}

async function steer(command, title, text) {
  const id = current;
  if (!await confirmed(title, text, title)) return;
  try {
    await api("/api/runs/" + encodeURIComponent(id) + "/" + command, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    showProblem("");
  } catch (error) {
    showProblem(error.message);
  }
}

$("stop").addEventListener("click", () => steer("stop", "Stop the run", "Cases in flight are finished. Starting the same batch again resumes the run."));
$("pause").addEventListener("click", () => steer("pause", "Pause the run", "Cases in flight are finished. Then no request is sent until the run is resumed."));
$("resume").addEventListener("click", () => steer("resume", "Resume the run", "Requests are sent again, at the configured pace."));

// ---- Start ----

window.addEventListener("hashchange", () => {
  const id = decodeURIComponent(location.hash.slice(1));
  if (/^[a-z0-9][a-z0-9-]{0,62}$/.test(id) && id !== "run") select(id);
});
if (/^#[a-z0-9][a-z0-9-]{3,62}$/.test(location.hash)) select(location.hash.slice(1));
showRuns();
setInterval(showRuns, 5000);
setInterval(showPhase, 1000);
