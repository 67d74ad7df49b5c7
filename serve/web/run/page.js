// The page of runs: which there are, which are shown, and what of them.
import { $, clock, fill, freeStyle, get, make, number, percent, runPath, stateMarks, styleOf, swatch } from "./common.js";
import { canBeOver, refreshLogs, render, setZoom, skippedLines, whenZoomed } from "./charts.js";
import { currentStep, open as openRollouts } from "./rollouts.js";
import { showResults } from "./results.js";
import { showSettings } from "./settings.js";

const tabs = ["curves", "rollouts", "results", "settings"];
let runs = []; // as the server lists them
let chosen = []; // ids, in the order of choice
let tab = "curves";
let picked = false; // whether the user chose, rather than the page
let askedStep = null; // of the address
let timer = 0;

// ---- the address keeps what is shown, so that it can be passed on

function readAddress() {
  const q = new URLSearchParams(location.hash.slice(1));
  if (q.get("runs")) {
    chosen = q.get("runs").split(",").filter(Boolean);
    picked = true;
  }
  if (tabs.includes(q.get("tab"))) tab = q.get("tab");
  if (["step", "tokens", "elapsed"].includes(q.get("x"))) $("x").value = q.get("x");
  if (q.get("smooth")) $("smooth").value = q.get("smooth");
  askedStep = q.get("step") ? Number(q.get("step")) : null;
}

function writeAddress() {
  const q = new URLSearchParams();
  if (picked) q.set("runs", chosen.join(","));
  if (tab !== "curves") q.set("tab", tab);
  if ($("x").value !== "step") q.set("x", $("x").value);
  if ($("smooth").value !== "0.6") q.set("smooth", $("smooth").value);
  const step = tab === "rollouts" ? currentStep() : null;
  if (step !== null) q.set("step", step);
  const hash = q.toString() ? "#" + q : "";
  if (hash !== location.hash) history.replaceState(null, "", location.pathname + hash);
}

// ---- which runs

const byID = (id) => runs.find((r) => r.id === id);
const tops = () => runs.filter((r) => !r.parent);
const stagesOf = (id) => runs.filter((r) => r.parent === id);
const shownRuns = () => chosen.map(byID).filter(Boolean).map((r) => ({ ...r, name: title(r) }));
const title = (r) => (r.parent && tops().length > 1 ? (byID(r.parent)?.name ?? "") + " / " + r.name : r.name);

// choose sets what is shown without the user's word: the run that goes on, or the newest.
function chooseDefault() {
  chosen = chosen.filter(byID);
  if (picked && chosen.length > 0) return;
  picked = false;
  const withLog = runs.filter((r) => r.updated > 0);
  const live = withLog.filter((r) => r.state === "running");
  const newest = (live.length ? live : withLog).sort((a, b) => b.updated - a.updated)[0] || runs[0];
  setChosen(newest ? [newest.id] : []);
}

function setChosen(ids) {
  for (const id of chosen) if (!ids.includes(id)) freeStyle(id);
  chosen = ids;
}

function choose(ids) {
  picked = true;
  setChosen(ids);
  setZoom(null); // draws what is there
  tick();
}

// ---- the list, the stages, the header

const briefly = (r) => {
  const l = r.latest || {};
  const out = [(stateMarks[r.state] || "") + " " + r.state, r.step ? "step " + r.step + (r.steps ? " of " + r.steps : "") : ""];
  if (l.accuracy !== undefined) out.push("accuracy " + percent(l.accuracy));
  else if (l.loss !== undefined) out.push("loss " + number(l.loss));
  return out.filter(Boolean).join(" · ");
};

function showList() {
  const many = tops().length > 1;
  $("aside").hidden = !many;
  $("layout").classList.toggle("many", many);
  $("chosen-count").textContent = "(" + chosen.length + " of " + runs.filter((r) => r.updated > 0 || !stagesOf(r.id).length).length + " shown)";
  if (!many) return;
  fill($("runs"), JSON.stringify([runs, chosen, matchMedia("(prefers-color-scheme: dark)").matches]), () => tops().flatMap((r) => {
    const stages = stagesOf(r.id);
    if (stages.length === 0) return [item(r)];
    const own = r.updated > 0 ? [item(r)] : [make("li", { class: "head" }, r.name, make("span", { class: "about" }, r.kind + " · " + (stateMarks[r.state] || "") + " " + r.state))];
    return [...own, ...stages.map((s) => item(s, true))];
  }));
}

function item(r, child = false) {
  const on = chosen.includes(r.id);
  const box = make("input", { type: "checkbox", id: "run:" + r.id, onchange: () => {
    choose(box.checked ? [...chosen, r.id] : chosen.filter((id) => id !== r.id));
    document.getElementById("run:" + r.id)?.focus();
  } });
  box.checked = on;
  const mark = on ? swatch(styleOf(r.id)) : swatch({ color: "none", dash: [] });
  return make("li", { class: child ? "child" : "" }, make("label", {}, box, mark, make("span", { class: "name" }, r.name),
    make("span", { class: "about" }, r.kind + " · " + briefly(r)), r.problem ? make("span", { class: "about problem" }, r.problem) : null));
}

// recipe is the run whose stages the chosen runs are, or null.
function recipe() {
  const parents = new Set(chosen.map((id) => byID(id)).filter(Boolean).map((r) => (r.stages ? r.id : r.parent)).filter(Boolean));
  return parents.size === 1 ? byID([...parents][0]) : tops().length === 1 && tops()[0].stages ? tops()[0] : null;
}

// showStages draws the stages of the recipe that the chosen runs belong to.
function showStages() {
  const parent = recipe();
  const about = chosen.length === 1 ? parent?.stages?.find((s) => s.id === chosen[0])?.about : "";
  $("stage-about").hidden = !about;
  $("stage-about").textContent = about || "";
  const stages = parent?.stages || [];
  $("stages").hidden = stages.length === 0;
  if (stages.length === 0) return;
  fill($("stages"), JSON.stringify([stages, chosen, stagesOf(parent.id).map((r) => [r.step, r.steps, r.state])]), () => {
    const all = stagesOf(parent.id).filter((r) => r.updated > 0).map((r) => r.id);
    const out = stages.map((s) => stageItem(s, byID(s.id)));
    if (all.length > 1) out.push(make("li", {}, make("button", { type: "button", "aria-pressed": String(all.every((id) => chosen.includes(id))), onclick: () => choose(all) },
      make("span", { class: "name" }, "All together"), make("span", { class: "about" }, "over one another"))));
    return out;
  });
  const on = $("stages").querySelector("[aria-pressed=true]");
  if (on && $("stages").dataset.at !== chosen[0]) { // brought into sight where the stages scroll sideways
    $("stages").dataset.at = chosen[0];
    $("stages").scrollLeft = on.offsetLeft - $("stages").offsetLeft - 20;
  }
}

function stageItem(s, run) {
  const step = Math.max(s.step || 0, run?.step || 0), steps = s.steps || run?.steps || 0;
  const bar = make("progress", { max: steps || 1, value: s.state === "done" ? steps || 1 : Math.min(step, steps || 1), "aria-label": "progress of " + s.name });
  const state = s.state === "running" && run?.state === "stopped" ? "stopped" : s.state; // the file says what its process knew
  const about = [state, s.state === "running" && steps ? step + " of " + steps : "", s.seconds ? clock(s.seconds) : ""].filter(Boolean).join(" · ");
  return make("li", {}, make("button", { type: "button", class: s.state, "aria-pressed": String(chosen.includes(s.id)), disabled: !run, onclick: () => choose([s.id]) },
    make("span", { class: "name" }, (stateMarks[state] || "") + " " + s.name), make("span", { class: "about" }, about), bar));
}

function showHeader(failure) {
  const one = tops().length === 1 ? tops()[0] : null;
  $("title").textContent = one ? one.name : "Sonde: runs";
  document.title = (one ? one.name : "runs") + " · Sonde";
  $("status").classList.toggle("failed", Boolean(failure));
  if (failure) {
    $("status").textContent = failure;
    return;
  }
  const parts = [];
  const runsNow = shownRuns();
  if (runsNow.length === 1) {
    const r = runsNow[0];
    parts.push(r.kind, briefly(r), remaining(r), r.problem);
  } else if (runsNow.length > 1) parts.push(runsNow.length + " runs");
  const skipped = chosen.reduce((n, id) => n + skippedLines(id), 0);
  if (skipped) parts.push(skipped + " lines of the log could not be read");
  $("status").textContent = parts.filter(Boolean).join(" · ");
}

// remaining is about how long a run will still take.
function remaining(r) {
  const per = r.step_seconds;
  if (r.state !== "running" || !per || !r.steps || r.step >= r.steps) return "";
  return "about " + clock(per * (r.steps - r.step)) + " left";
}

// ---- the clockwork

let ticking = false, again = false; // one at a time; what is asked for meanwhile comes next

async function tick() {
  clearTimeout(timer);
  again = ticking;
  if (ticking) return;
  ticking = true;
  const more = await refresh();
  ticking = false;
  document.body.dataset.ready = "yes";
  if (again) return tick();
  const wait = more ? 50 : runs.some((r) => r.state === "running") ? 2000 : 5000;
  timer = setTimeout(() => (document.hidden ? null : tick()), wait);
}

// refresh asks the server for everything that is shown; true where there is more to come.
async function refresh() {
  let more = false;
  try {
    runs = (await get("api/runs")).runs;
    chooseDefault();
    showList();
    showStages();
    more = await update();
    showHeader("");
  } catch (err) {
    showHeader(err instanceof TypeError ? "The server is gone: the run has ended, or was stopped. sonde runs shows it again." : err.message);
  }
  writeAddress();
  return more;
}

// update brings the tab up to date.
async function update() {
  const list = shownRuns();
  if (tab === "rollouts") {
    const run = list.find((r) => r.rollouts) || list[0];
    if (run) await openRollouts(run, askedStep);
    askedStep = null;
    return false;
  }
  if (tab === "results") {
    await showResults(list, recipe());
    return false;
  }
  if (tab === "settings") {
    await showSettings(list);
    return false;
  }
  const more = await refreshLogs(list.map((r) => r.id));
  redraw();
  return more;
}

function redraw() {
  for (const o of $("x").options) o.disabled = !canBeOver(o.value);
  $("smooth-value").textContent = $("smooth").value;
  render(shownRuns(), $("x").value, Number($("smooth").value));
}

function showTab(name) {
  tab = name;
  for (const t of tabs) {
    $(t).hidden = t !== name;
    $("tab-" + t).setAttribute("aria-selected", String(t === name));
    $("tab-" + t).tabIndex = t === name ? 0 : -1;
  }
  $("curve-tools").hidden = name !== "curves";
}

for (const [i, name] of tabs.entries()) {
  $("tab-" + name).addEventListener("click", () => {
    showTab(name);
    tick();
  });
  $("tab-" + name).addEventListener("keydown", (e) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!by) return;
    const other = tabs[(i + by + tabs.length) % tabs.length];
    showTab(other);
    $("tab-" + other).focus();
    tick();
  });
}
$("x").addEventListener("change", () => {
  setZoom(null);
  writeAddress();
});
$("smooth").addEventListener("input", redraw);
$("smooth").addEventListener("change", writeAddress);
$("unzoom").addEventListener("click", () => setZoom(null));
$("key").addEventListener("change", tick);
$("key-form").addEventListener("submit", (e) => e.preventDefault());
whenZoomed(redraw);
document.addEventListener("visibilitychange", () => document.hidden || tick());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  showList();
  redraw();
});
let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => tab === "curves" && redraw(), 150);
});
if (matchMedia("(max-width: 60rem)").matches) $("list").open = false;
readAddress();
showTab(tab);
tick();
