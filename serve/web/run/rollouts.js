// The rollouts: for each step kept, the groups of samples, and one sample in full.
import { $, fill, get, make, number, percent, runPath } from "./common.js";

const view = { run: null, steps: [], step: null, follow: true, data: null, task: "", only: "", current: null, thought: true };
let parts = null; // the elements of the view

// open shows the rollouts of a run; step may be null for the newest.
export async function open(run, step) {
  if (!parts) build();
  if (view.run?.id !== run.id) Object.assign(view, { run, steps: [], step: null, follow: step === null, data: null, current: null });
  view.run = run;
  view.steps = (await get(runPath(run.id, "/rollouts"))).steps;
  if (view.steps.length === 0) {
    show();
    return;
  }
  let wanted = view.follow ? view.steps.at(-1) : (view.step ?? step);
  if (!view.steps.includes(wanted)) wanted = view.steps.at(-1);
  if (wanted !== view.step || view.data === null || (view.follow && view.data.half)) await load(wanted);
  show();
}

export const currentStep = () => (view.follow ? null : view.step);

async function load(step) {
  view.step = step;
  const data = await get(runPath(view.run.id, "/rollouts/" + step));
  if (view.step !== step) return; // the user went on meanwhile
  view.data = data;
  view.current = null;
}

async function more() {
  const next = await get(runPath(view.run.id, "/rollouts/" + view.step + "?at=" + view.data.next));
  view.data.samples.push(...next.samples);
  view.data.next = next.next;
  view.data.skipped += next.skipped;
  show();
}

async function go(by) {
  const i = view.steps.indexOf(view.step) + by;
  if (i < 0 || i >= view.steps.length) return;
  await goTo(view.steps[i]);
}

async function goTo(step) {
  view.follow = step === view.steps.at(-1);
  try {
    await load(step);
    show();
  } catch (err) {
    parts.about.textContent = err.message;
  }
}

function build() {
  parts = {
    empty: make("p", { class: "empty" }),
    back: make("button", { type: "button", "aria-label": "Step before", onclick: () => go(-1) }, "◀"),
    on: make("button", { type: "button", "aria-label": "Next step", onclick: () => go(1) }, "▶"),
    newest: make("button", { type: "button", onclick: () => goTo(view.steps.at(-1)) }, "Newest"),
    slider: make("input", { type: "range", min: 0, step: 1, "aria-label": "Step" }),
    step: make("b"),
    task: make("select", { onchange: () => choose("task", parts.task.value) }),
    only: make("select", { onchange: () => choose("only", parts.only.value) },
      new Option("all", ""), new Option("right ✓", "right"), new Option("wrong ✗", "wrong")),
    about: make("span"),
    groups: make("div", { class: "groups", role: "group", "aria-label": "Samples" }),
    detail: make("article", { class: "detail", "aria-live": "polite" }),
  };
  parts.slider.addEventListener("input", () => goTo(view.steps[Number(parts.slider.value)]));
  parts.whole = make("div", {},
    make("div", { class: "steps" }, parts.back, parts.on, parts.step, parts.newest, parts.slider),
    make("div", { class: "filters" }, make("label", {}, "Task ", parts.task), make("label", {}, "Show ", parts.only), parts.about),
    make("div", { class: "rollouts" }, parts.groups, parts.detail),
    make("p", { class: "keys" }, make("kbd", {}, "j"), " ", make("kbd", {}, "k"), " next and previous sample   ",
      make("kbd", {}, "n"), " ", make("kbd", {}, "p"), " group   ", make("kbd", {}, "←"), " ", make("kbd", {}, "→"), " step   ", make("kbd", {}, "t"), " fold the thought"));
  $("rollouts").append(parts.empty, parts.whole);
  document.addEventListener("keydown", onKey);
}

function choose(what, value) {
  view[what] = value;
  view.current = null;
  show();
}

const shown = () => view.data.samples.filter((s) => (!view.task || s.task === view.task) && (!view.only || s.right === (view.only === "right")));

// show brings the page up to view.
function show() {
  const none = view.steps.length === 0 || view.data === null;
  parts.empty.hidden = !none;
  parts.whole.hidden = none;
  if (none) {
    parts.empty.textContent = "This run has kept no rollouts: GRPO and rejection sampling write them, one file a step.";
    return;
  }
  const at = view.steps.indexOf(view.step);
  parts.slider.max = String(view.steps.length - 1);
  parts.slider.value = String(at);
  parts.slider.setAttribute("aria-valuetext", "step " + view.step);
  parts.step.textContent = "Step " + view.step;
  parts.back.disabled = at <= 0;
  parts.on.disabled = at >= view.steps.length - 1;
  parts.newest.disabled = view.follow;
  const tasks = [...new Set(view.data.samples.map((s) => s.task))].sort();
  if (view.task && !tasks.includes(view.task)) tasks.push(view.task);
  fill(parts.task, JSON.stringify(tasks), () => [new Option("all", ""), ...tasks.map((t) => new Option(t || "unnamed", t))]);
  parts.task.value = view.task;
  parts.only.value = view.only;
  const list = shown();
  if (!list.includes(view.current)) view.current = list[0] || null;
  sayAbout(list);
  showGroups(list);
  showDetail();
}

function sayAbout(list) {
  const right = list.filter((s) => s.right).length;
  const rewards = list.map((s) => s.reward).filter((r) => typeof r === "number");
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
  const out = [list.length + " of " + view.data.samples.length + " samples", right + " right (" + percent(list.length ? right / list.length : 0) + ")"];
  if (rewards.length) out.push("mean reward " + number(mean));
  if (view.data.skipped) out.push(view.data.skipped + " lines could not be read");
  parts.about.textContent = out.join(" · ");
}

const oneLine = (s) => s.replace(/\s+/g, " ").trim();

// showGroups lists the samples; what is there already stays, with its focus.
function showGroups(list) {
  const place = [view.run.id, view.step, view.task, view.only].join(" ");
  const top = parts.groups.dataset.place === place ? parts.groups.scrollTop : 0;
  parts.groups.dataset.place = place;
  fill(parts.groups, place + " " + view.data.samples.length + " " + view.data.next, () => {
    const groups = new Map();
    for (const s of list) groups.set(s.group, [...(groups.get(s.group) || []), s]);
    const blocks = [...groups].map(([g, samples]) => block(samples, view.data.samples.filter((s) => s.group === g)));
    if (view.data.next) blocks.push(make("button", { type: "button", onclick: more }, "More samples of this step"));
    if (blocks.length === 0) blocks.push(make("p", { class: "empty" }, "No sample of this step passes the filter."));
    return blocks;
  });
  parts.groups.scrollTop = top;
  mark();
}

// block is one group: those of its samples that pass the filter, of all.
function block(samples, all) {
  const right = all.filter((s) => s.right).length;
  return make("section", { class: "group" },
    make("h3", {}, make("span", { class: "asked", title: samples[0].prompt }, oneLine(samples[0].prompt) || "(no prompt)"), make("span", { class: "count" }, right + " of " + all.length + " right")),
    make("div", { class: "heads", "aria-hidden": "true" }, make("span"), make("span", {}, "answer"), ...heads(samples[0]).map((h) => make("span", { class: "num" }, h))),
    ...samples.map(row));
}

const verdictMark = (s) => make("span", { class: "mark " + (s.right ? "right" : "wrong") }, s.right ? "✓" : "✗", make("span", { class: "hide" }, s.right ? " right" : " wrong"));
const signed = (v) => (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v).toFixed(2);

const heads = (s) => [s.reward !== undefined && "reward", s.advantage !== undefined && "adv.", "tokens"].filter(Boolean);

function row(s) {
  const nums = [s.reward !== undefined && number(s.reward), s.advantage !== undefined && signed(s.advantage), s.length];
  const e = make("button", { type: "button", class: "sample", onclick: () => pick(s, true) }, verdictMark(s),
    make("span", { class: "text" }, oneLine(s.answer || s.text) || "(empty)"), ...nums.map((n) => n !== false && make("span", { class: "num" }, n)));
  e.sample = s;
  return e;
}

function pick(s, byHand) {
  view.current = s;
  const e = mark();
  if (!byHand) e?.focus({ preventScroll: true });
  showDetail();
  if (byHand && matchMedia("(max-width: 60rem)").matches) parts.detail.scrollIntoView({ block: "start" });
}

// mark points out the current sample, and returns its row.
function mark() {
  let current = null;
  for (const e of parts.groups.querySelectorAll(".sample")) {
    const on = e.sample === view.current;
    if (on) current = e;
    if (e.getAttribute("aria-current") !== String(on)) {
      e.setAttribute("aria-current", String(on));
      if (on) e.scrollIntoView({ block: "nearest" });
    }
  }
  return current;
}

const words = (text, kind) => make("pre", { class: "words " + kind, tabindex: 0 }, text);
const asText = (v) => (typeof v === "string" ? v : JSON.stringify(v));

let detailed = null; // the sample that the detail shows

function showDetail() {
  const s = view.current;
  parts.detail.hidden = !s;
  if (!s) return;
  if (detailed === s) {
    const thought = parts.detail.querySelector("details.thinking");
    if (thought) thought.open = view.thought;
    return;
  }
  detailed = s;
  const facts = [["Task", s.task], ["Reward", s.reward], ["Advantage", s.advantage === undefined ? undefined : signed(s.advantage)], ["Score", s.score],
    ["Length", s.length + " tokens"], ["Ended by", s.finish], ["Group, sample", s.group + ", " + s.sample]]
    .filter(([, v]) => v !== undefined && v !== "");
  const thought = s.thought ? make("details", { class: "thinking" }, make("summary", {}, "Thought, " + s.thought.length + " characters"), words(s.thought, "thought")) : null;
  if (thought) {
    thought.open = view.thought;
    thought.addEventListener("toggle", () => (view.thought = thought.open));
  }
  const raw = make("details", {}, make("summary", {}, "The text as it was written"), words(s.text, ""));
  parts.detail.replaceChildren(
    make("h3", {}, verdictMark(s), s.right ? " Right" : " Wrong", s.cut ? " (long texts are cut)" : ""),
    make("dl", {}, ...facts.map(([k, v]) => make("div", {}, make("dt", {}, k), make("dd", {}, typeof v === "number" ? number(v) : v)))),
    make("h4", {}, "Prompt"), words(s.prompt, ""), ...(thought ? [thought] : [make("h4", {}, "No thought")]),
    make("h4", {}, "Answer"), words(s.answer || (s.thought ? "" : s.text), "answer"),
    ...(s.reference !== undefined && s.reference !== null ? [make("h4", {}, "Reference"), words(asText(s.reference), "")] : []),
    ...(s.verdict !== undefined && s.verdict !== null && s.verdict !== "" ? [make("h4", {}, "Verdict"), words(asText(s.verdict), "")] : []),
    raw);
}

// onKey steps through samples, groups and steps.
function onKey(e) {
  if ($("rollouts").hidden || !view.current || e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
  if (e.target.getAttribute("role") === "tab" && e.key.startsWith("Arrow")) return; // those choose a tab
  const list = shown();
  const i = list.indexOf(view.current);
  const group = (d) => {
    const j = d > 0 ? list.findIndex((s, k) => k > i && s.group !== view.current.group) : list.findLastIndex((s, k) => k < i && s.group !== view.current.group);
    if (j < 0) return d > 0 ? null : list.find((s) => s.group === view.current.group);
    return d > 0 ? list[j] : list.find((s) => s.group === list[j].group);
  };
  const act = {
    j: () => list[i + 1] && pick(list[i + 1]),
    k: () => list[i - 1] && pick(list[i - 1]),
    n: () => group(1) && pick(group(1)),
    p: () => group(-1) && pick(group(-1)),
    ArrowLeft: () => go(-1),
    ArrowRight: () => go(1),
    t: () => {
      view.thought = !view.thought;
      showDetail();
    },
  }[e.key];
  if (!act) return;
  e.preventDefault();
  act();
}
