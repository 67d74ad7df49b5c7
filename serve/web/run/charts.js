// The curves: one chart for each thing measured, the chosen runs in each.
import { $, clock, fill, get, make, number, percent, runPath, styleOf, swatch } from "./common.js";

// What is drawn: a chart has one line, and marks for what is measured now and then.
// share: between 0 and 1, shown as percent over all of that unless small; exact: never
// smoothed.
const known = [
  { title: "Loss", line: "loss", marks: [["heldout_loss", "held out"]], unit: "nats a token" },
  { title: "Reward", line: "reward" },
  { title: "Accuracy", line: "accuracy", marks: [["heldout_accuracy", "held out, sampled"], ["heldout_greedy", "held out, greedy"]], share: true },
  { title: "Length", line: "length", unit: "tokens" },
  { title: "Length of thought", line: "thought_length", unit: "tokens" },
  { title: "Thinking", line: "thinking", share: true, unit: "of the samples" },
  { title: "Form kept", line: "format", share: true, unit: "of the samples" },
  { title: "Held-out bits per byte", marks: [["heldout_bpb", "held out"]] },
  { title: "Entropy", line: "entropy", unit: "nats" },
  { title: "KL to the reference", line: "kl", unit: "nats" },
  { title: "Spread of reward", line: "reward_std" },
  { title: "Groups with unequal rewards", line: "groups_mixed", share: true },
  { title: "Learning rate", line: "lr", exact: true },
  { title: "Norm of the gradient", line: "grad_norm" },
  { title: "Largest ratio", line: "ratio_max" },
  { title: "Clipped", line: "clip_share", share: true, small: true, unit: "of the tokens" },
  { title: "Expert load", line: "load_max_mean", unit: "largest over mean", heat: true },
  { title: "Speed of learning", line: "tokens_per_s", unit: "tokens a second" },
  { title: "Speed of generation", line: "gen_tokens_per_s", unit: "tokens a second" },
  { title: "Time in generation", line: "gen_share", share: true },
  { title: "Time of a step", line: "seconds", unit: "seconds" },
];
const glyphs = ["●", "◆"];

const logs = new Map(); // id -> what the server said of the run's curves
let charts = []; // those on the page
let zoom = null; // [from, to] of x

// refresh fetches what is new of the runs' logs; true where there is more to read.
export async function refreshLogs(ids) {
  for (const id of logs.keys()) if (!ids.includes(id)) logs.delete(id);
  const points = Math.min(1200, Math.max(200, Math.round(window.innerWidth * 0.7)));
  const more = await Promise.all(ids.map(async (id) => {
    const old = logs.get(id);
    let query = "?points=" + points;
    if (old && old.starts.length > 0) query += "&every=" + old.every + "&generation=" + old.generation + "&from=" + old.starts.at(-1);
    const fresh = await get(runPath(id, "/log") + query);
    logs.set(id, merged(old, fresh));
    return fresh.more;
  }));
  return more.includes(true);
}

// merged puts the groups of an answer in the place of those that it brings anew.
function merged(old, fresh) {
  const starts = fresh.x.step.map((s) => Math.floor((s - 1) / fresh.every) * fresh.every + 1);
  if (!old || fresh.from === 1) return { ...fresh, starts };
  const keep = old.starts.findIndex((s) => s >= fresh.from);
  const n = keep < 0 ? old.starts.length : keep;
  const join = (a, b) => [...(a ? a.slice(0, n) : Array(n).fill(null)), ...(b || Array(starts.length).fill(null))];
  const x = {}, series = {};
  for (const name of Object.keys(fresh.x)) x[name] = join(old.x[name], fresh.x[name]);
  for (const name of new Set([...Object.keys(old.series), ...Object.keys(fresh.series)])) {
    const a = old.series[name] || {}, b = fresh.series[name] || {};
    series[name] = { mean: join(a.mean, b.mean) };
    if (fresh.every > 1) Object.assign(series[name], { min: join(a.min, b.min), max: join(a.max, b.max) });
  }
  return { ...fresh, x, series, starts: join(old.starts, starts) };
}

// canBeOver reports whether any of the runs says where it is on an axis.
export const canBeOver = (x) => logs.size === 0 || [...logs.values()].some((log) => log.x[x].some((v) => v !== null));

export const skippedLines = (id) => logs.get(id)?.skipped || 0;

// plan is the charts that the runs' numbers ask for: the known ones, then the rest.
function plan() {
  const there = new Set();
  for (const log of logs.values()) {
    for (const [name, s] of Object.entries(log.series)) if (s.mean.some((v) => v !== null)) there.add(name);
  }
  const used = new Set();
  const out = known.filter((c) => {
    const names = [c.line, ...(c.marks || []).map((m) => m[0])].filter((n) => there.has(n));
    names.forEach((n) => used.add(n));
    return names.length > 0;
  });
  if (there.has("reward")) out.sort((a, b) => (a.line === "loss") - (b.line === "loss")); // what says least of reinforcement
  for (const name of [...there].sort()) if (!used.has(name)) out.push({ title: name.replaceAll("_", " "), line: name });
  return out;
}

// points are a column of a run over x, without holes.
function points(id, name, over) {
  const log = logs.get(id);
  const s = log?.series[name];
  const xs = log?.x[over] ?? [];
  const out = { x: [], mean: [], min: [], max: [], grouped: Boolean(s?.min) };
  if (!s) return out;
  let last = -Infinity;
  for (let i = 0; i < s.mean.length; i++) {
    if (s.mean[i] === null || xs[i] === null || xs[i] === undefined || xs[i] <= last) continue;
    last = xs[i];
    out.x.push(last);
    out.mean.push(s.mean[i]);
    out.min.push(s.min ? s.min[i] : s.mean[i]);
    out.max.push(s.max ? s.max[i] : s.mean[i]);
  }
  return out;
}

// smoothed is the exponential average, free of the pull of its beginning.
function smoothed(values, weight) {
  let sum = 0, total = 0;
  return values.map((v) => {
    sum = weight * sum + (1 - weight) * v;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

// render draws everything for the runs [{id, name}].
export function render(runs, over, smooth) {
  const wanted = plan();
  $("curves-empty").hidden = wanted.length > 0;
  if (wanted.length === 0) $("curves-empty").textContent = runs.length ? "No step has been logged yet." : "Choose a run.";
  const key = wanted.map((c) => c.title).join("|");
  fill($("charts"), key, () => {
    charts.forEach((c) => c.plot?.destroy());
    charts = wanted.map(figure);
    return charts.flatMap((c) => (c.heat ? [c.element, c.heat.element] : [c.element]));
  });
  for (const chart of charts) draw(chart, runs, over, smooth);
  $("unzoom").hidden = zoom === null;
}

function figure(spec) {
  const chart = { spec, plot: null, shape: "", readout: make("div", { class: "readout" }), box: make("div", { class: "plot" }), legend: make("span", { class: "marks" }) };
  chart.element = make("figure", { class: "chart", role: "group", "aria-label": spec.title, "data-line": spec.line || spec.marks[0][0] },
    make("figcaption", {}, make("span", { class: "what" }, spec.title), chart.legend),
    chart.readout, chart.box);
  if (spec.heat) chart.heat = heatFigure();
  return chart;
}

// columnsOf are the series of a chart, each with its own table of x and y.
function columnsOf(spec, runs, over, smooth) {
  const out = [];
  for (const run of runs) {
    const style = styleOf(run.id);
    if (spec.line) {
      const p = points(run.id, spec.line, over);
      if (p.x.length > 0) {
        const smoothing = smooth > 0 && !spec.exact, detail = runs.length <= 3;
        if (detail && p.grouped) out.push({ run, style, kind: "max", x: p.x, y: p.max }, { run, style, kind: "min", x: p.x, y: p.min });
        if (detail && smoothing) out.push({ run, style, kind: "raw", x: p.x, y: p.mean });
        out.push({ run, style, kind: "line", x: p.x, y: smoothing ? smoothed(p.mean, smooth) : p.mean, said: p.mean });
      }
    }
    (spec.marks || []).forEach(([name], i) => {
      const p = points(run.id, name, over);
      if (p.x.length > 0) out.push({ run, style, kind: "mark", glyph: i, x: p.x, y: p.mean, said: p.mean });
    });
  }
  return out;
}

function draw(chart, runs, over, smooth) {
  const columns = columnsOf(chart.spec, runs, over, smooth);
  chart.element.hidden = columns.length === 0;
  if (columns.length === 0) return;
  chart.legend.textContent = legendOf(chart.spec, columns);
  chart.columns = columns;
  chart.over = over;
  const data = uPlot.join(columns.map((c) => [c.x, c.y]));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shape = JSON.stringify([columns.map((c) => [c.run.id, c.run.name, c.kind, c.glyph, c.style]), over, dark, smooth > 0]);
  const width = Math.max(200, chart.box.clientWidth), height = chart.box.clientHeight || 200;
  if (chart.plot && chart.shape === shape) {
    if (chart.plot.width !== width || chart.plot.height !== height) chart.plot.setSize({ width, height });
    chart.plot.setData(data, false);
    rescale(chart.plot);
  } else {
    chart.plot?.destroy();
    chart.shape = shape;
    chart.plot = new uPlot(options(chart, columns, over, width, height), data, chart.box);
  }
  readout(chart, null);
  if (chart.heat) drawHeat(chart.heat, runs);
}

// legendOf says in what a chart's numbers are and what its marks mean.
function legendOf(spec, columns) {
  const marks = (spec.marks || []).map((m, i) => (columns.some((c) => c.glyph === i) ? glyphs[i] + " " + m[1] : "")).filter(Boolean);
  if (marks.length > 0 && spec.line) marks.unshift("line: in training");
  return [spec.unit, marks.join("  ")].filter(Boolean).join(" · ");
}

function rescale(u) {
  const xs = u.data[0];
  const [min, max] = zoom || [xs[0], xs[xs.length - 1]];
  u.setScale("x", { min, max: max > min ? max : min + 1 });
}

const say = (spec) => (spec.share ? percent : number);
const sayX = (over) => (over === "elapsed" ? clock : number);

function options(chart, columns, over, width, height) {
  const css = getComputedStyle(document.documentElement);
  const color = (name) => css.getPropertyValue(name).trim();
  const axis = { stroke: color("--faint"), grid: { stroke: color("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const series = columns.map(seriesOf);
  const bands = [];
  columns.forEach((c, i) => {
    if (c.kind === "max") bands.push({ series: [i + 1, i + 2], fill: c.style.color + "22" });
  });
  return {
    width, height, bands,
    legend: { show: false },
    padding: [8, 18, 0, 0],
    scales: {
      x: { time: false, range: (u, min, max) => zoom || [min, max > min ? max : min + 1] },
      y: { range: (u, min, max) => rangeOf(chart.spec, min, max) },
    },
    axes: [
      { ...axis, size: 28, gap: 3, space: 70, values: (u, ticks) => ticks.map(sayX(over)) },
      { ...axis, size: 52, gap: 4, values: (u, ticks) => ticks.map((v) => (chart.spec.share ? percent(v) : number(v))) },
    ],
    series: [{}, ...series],
    cursor: { sync: { key: "runs" }, y: false, points: { show: false }, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => setZoom(null) } },
    hooks: {
      setCursor: [(u) => readout(chart, u.cursor.left >= 0 ? u.cursor.idx : null)],
      setSelect: [(u) => {
        if (u.select.width < 5) return;
        const from = u.posToVal(u.select.left, "x"), to = u.posToVal(u.select.left + u.select.width, "x");
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        setZoom([from, to]);
      }],
    },
  };
}

function rangeOf(spec, min, max) {
  if (spec.share && !spec.small) return [0, 1.03];
  if (min === null || min === undefined) return [0, 1];
  if (min === max) return [min >= 0 ? min * 0.9 : min * 1.1, max === 0 ? 1 : max + Math.abs(max) * 0.1];
  const pad = (max - min) * 0.06;
  return [min >= 0 && min - pad < 0 ? 0 : min - pad, max + pad];
}

function seriesOf(c) {
  const none = { show: false };
  switch (c.kind) {
    case "min":
    case "max":
      return { stroke: "transparent", width: 0, auto: false, points: none };
    case "raw":
      return { stroke: c.style.color + "4d", width: 1, auto: false, points: none };
    case "line":
      return { stroke: c.style.color, width: 2, dash: c.style.dash, points: { show: c.x.length === 1, size: 7 } };
  }
  return { stroke: c.style.color, width: 1, dash: [2, 3], points: { show: (u, i, from, to) => drawMarks(u, i, from, to, c) } };
}

// drawMarks puts a disc or a diamond at each point of a series.
function drawMarks(u, i, from, to, c) {
  const size = 4 * devicePixelRatio;
  const { ctx } = u;
  ctx.save();
  ctx.fillStyle = c.style.color;
  for (let k = from; k <= to; k++) {
    const v = u.data[i][k];
    if (v === null || v === undefined) continue;
    const x = u.valToPos(u.data[0][k], "x", true), y = u.valToPos(v, "y", true);
    ctx.beginPath();
    if (c.glyph === 0) ctx.arc(x, y, size, 0, 2 * Math.PI);
    else {
      const r = size * 1.35;
      ctx.moveTo(x, y - r);
      ctx.lineTo(x + r, y);
      ctx.lineTo(x, y + r);
      ctx.lineTo(x - r, y);
    }
    ctx.fill();
  }
  ctx.restore();
  return false;
}

// readout writes the values at the cursor, or the newest ones, above a chart.
function readout(chart, at) {
  const { plot, spec, columns } = chart;
  if (!plot || !columns) return;
  const x = at === null ? Infinity : plot.data[0][at];
  const parts = [];
  if (at !== null) parts.push(make("span", {}, (chart.over === "elapsed" ? "" : chart.over + " ") + sayX(chart.over)(x)));
  const byRun = new Map();
  for (const c of columns) {
    if (c.kind !== "line" && c.kind !== "mark") continue;
    const i = lastBefore(c.x, x);
    if (i < 0) continue;
    if (!byRun.has(c.run)) byRun.set(c.run, make("span", { title: c.run.name }, swatch(c.style)));
    byRun.get(c.run).append(c.kind === "mark" ? " " + glyphs[c.glyph] + "\u00a0" : "", make("b", {}, say(spec)(c.said[i])));
  }
  parts.push(...byRun.values());
  chart.readout.replaceChildren(...parts);
}

// lastBefore is the last index with xs[i] <= x, or -1.
function lastBefore(xs, x) {
  let lo = 0, hi = xs.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (xs[mid] <= x) lo = mid + 1;
    else hi = mid;
  }
  return lo - 1;
}

let onZoom = () => {};

export function setZoom(range) {
  zoom = range;
  onZoom();
}

export function whenZoomed(f) {
  onZoom = f;
}

// ---- the heat map of experts

function heatFigure() {
  const heat = { canvas: make("canvas", { class: "heat", role: "img" }), layer: 0, data: null, id: "" };
  heat.select = make("select", { "aria-label": "Layer", onchange: () => {
    heat.layer = Number(heat.select.value);
    heat.stale = true;
    onZoom();
  } });
  heat.readout = make("div", { class: "readout" });
  heat.axis = make("div", { class: "heat-axis" });
  heat.element = make("figure", { class: "chart", role: "group", "aria-label": "Tokens of each expert", hidden: true },
    make("figcaption", {}, make("span", { class: "what" }, "Tokens of each expert"), heat.select,
      make("span", { class: "scale" }, "0", make("i"), "2 × mean")),
    heat.readout, heat.canvas, heat.axis);
  for (const type of ["pointermove", "pointerdown"]) heat.canvas.addEventListener(type, (e) => sayCell(heat, e));
  heat.canvas.addEventListener("pointerleave", () => sayHeat(heat));
  return heat;
}

async function drawHeat(heat, runs) {
  const run = runs.find((r) => logs.get(r.id)?.series.load_max_mean);
  if (!run) return;
  const log = logs.get(run.id);
  const stamp = [run.id, log.generation, log.starts.at(-1), log.x.step.at(-1), heat.layer].join(" ");
  if (heat.stamp !== stamp) {
    heat.stamp = stamp;
    try {
      heat.data = await get(runPath(run.id, "/loads?layer=" + heat.layer));
    } catch {
      heat.layer = 0; // another run has fewer layers
      return;
    }
  }
  heat.run = run;
  paintHeat(heat, runs.length > 1);
}

function paintHeat(heat, named) {
  const { data, canvas } = heat;
  heat.element.hidden = !data || data.share.length === 0;
  if (heat.element.hidden) return;
  fill(heat.select, String(data.layers), () => Array.from({ length: data.layers }, (_, i) => new Option("MoE layer " + (i + 1) + " of " + data.layers, i)));
  heat.select.value = String(data.layer);
  heat.named = named;
  canvas.width = data.share.length;
  canvas.height = data.experts;
  const ctx = canvas.getContext("2d");
  const rgb = getComputedStyle(document.documentElement).getPropertyValue("--heat").trim();
  data.share.forEach((column, x) => column.forEach((v, y) => {
    ctx.fillStyle = "rgba(" + rgb + "," + Math.min(1, v / 2).toFixed(3) + ")";
    ctx.fillRect(x, y, 1, 1);
  }));
  heat.axis.replaceChildren(make("span", {}, "step " + data.step[0]), make("span", {}, "expert 1 above, " + data.experts + " below"), make("span", {}, "step " + data.step.at(-1)));
  sayHeat(heat);
}

// sayHeat tells of the newest steps: the busiest and the idlest expert.
function sayHeat(heat) {
  const last = heat.data.share.at(-1);
  const most = Math.max(...last), least = Math.min(...last);
  const text = "busiest: expert " + (last.indexOf(most) + 1) + " with " + number(most) + " ×, idlest: " + (last.indexOf(least) + 1) + " with " + number(least) + " ×";
  heat.readout.replaceChildren(make("span", {}, heat.named ? heat.run.name + ": " : "", text));
  heat.canvas.setAttribute("aria-label", text);
}

function sayCell(heat, e) {
  const { data, canvas } = heat;
  const box = canvas.getBoundingClientRect();
  const x = Math.min(data.share.length - 1, Math.max(0, Math.floor(((e.clientX - box.left) / box.width) * data.share.length)));
  const y = Math.min(data.experts - 1, Math.max(0, Math.floor(((e.clientY - box.top) / box.height) * data.experts)));
  heat.readout.replaceChildren(make("span", {}, "up to step " + data.step[x] + ", expert " + (y + 1) + ": ", make("b", {}, number(data.share[x][y]) + " ×"), " the mean"));
}
