// The results: how each stage's model did on held-out problems, what the stages took, and
// what the runs say of themselves at their end.
import { $, clock, get, make, number, percent, runPath } from "./common.js";
import { flat, table } from "./settings.js";

let shown = "";

// showResults shows the outcome of the runs, and of the recipe [{id, name}] they are
// stages of, which may be null.
export async function showResults(runs, recipe) {
  const all = await Promise.all(runs.map((r) => get(runPath(r.id))));
  const stages = recipe ? stagesIn(await get(runPath(recipe.id))) : [];
  const key = JSON.stringify([stages, all.map((r) => [r.id, r.summary])]);
  if (key === shown) return;
  shown = key;
  const blocks = [...examBlocks(stages), ...costBlocks(stages)];
  const tables = all.map((r) => flat(r.stages ? null : r.summary));
  if (tables.some((t) => t.size > 0)) blocks.push(make("h2", {}, "At the end of " + runs.map((r) => r.name).join(", ")), make("div", { class: "scroll" }, table(runs, tables)));
  if (blocks.length === 0) blocks.push(make("p", { class: "empty" }, "There are no results yet: stages are examined, and runs summed up, at their end."));
  $("results").replaceChildren(...blocks);
}

const stagesIn = (answer) => (Array.isArray(answer.record?.stages) ? answer.record.stages.filter((s) => s && typeof s === "object") : []);

// examBlocks is a table with a row for each task and a column for each stage.
function examBlocks(stages) {
  const examined = stages.filter((s) => Array.isArray(s.exam?.tasks));
  if (examined.length === 0) return [];
  const rows = new Map(); // title -> a cell for each stage
  const put = (title, i, score) => {
    if (!rows.has(title)) rows.set(title, Array(examined.length).fill(null));
    rows.get(title)[i] = score;
  };
  examined.forEach((s, i) => s.exam.tasks.forEach((t) => {
    put(t.task, i, t);
    if (t.hard) put(t.task + ", harder", i, t.hard);
  }));
  const head = make("tr", {}, make("td"), ...examined.map((s) => make("th", { scope: "col" }, s.name)));
  const body = [...rows].map(([title, cells]) => make("tr", {}, make("th", { scope: "row" }, title), ...cells.map(scoreCell)));
  return [make("h2", {}, "Held-out problems after each stage"),
    make("p", { class: "note" }, "The share of problems whose most probable answer is right; below it that of drawn answers, and the mean length of the thought."),
    make("div", { class: "scroll" }, make("table", { class: "scores" }, make("thead", {}, head), make("tbody", {}, ...body)))];
}

function scoreCell(score) {
  if (!score) return make("td", {}, "–");
  const span = Array.isArray(score.greedy_ci95) ? "95 % of the time between " + score.greedy_ci95.map(percent).join(" and ") : null;
  return make("td", { title: span }, make("progress", { max: 1, value: score.greedy ?? 0, "aria-hidden": "true" }), make("b", {}, percent(score.greedy)),
    make("span", { class: "about" }, "drawn " + percent(score.sampled) + " · thought " + number(score.thought_tokens) + " tokens"));
}

// costBlocks is what each stage took.
function costBlocks(stages) {
  const paid = stages.filter((s) => s.cost);
  if (paid.length === 0) return [];
  const columns = [["steps", (s) => number(s.steps)], ["tokens learned", (s) => number(s.cost.learned)], ["read", (s) => number(s.cost.read)], ["written", (s) => number(s.cost.written)],
    ["PFLOPs", (s) => number(s.cost.flops / 1e15)], ["time", (s) => clock(s.cost.seconds ?? 0)], ["price", (s) => "$" + (s.cost.dollars ?? 0).toFixed(3)]];
  const sum = { name: "all", steps: 0, cost: {} };
  for (const s of paid) {
    sum.steps += s.steps || 0;
    for (const [k, v] of Object.entries(s.cost)) sum.cost[k] = (sum.cost[k] || 0) + (Number(v) || 0);
  }
  const row = (s) => make("tr", {}, make("th", { scope: "row" }, s.name), ...columns.map(([, f]) => make("td", { class: "count" }, f(s))));
  return [make("h2", {}, "What the stages took"),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...columns.map(([n]) => make("th", { scope: "col", class: "count" }, n)))),
      make("tbody", {}, ...paid.map(row), row(sum))))];
}
