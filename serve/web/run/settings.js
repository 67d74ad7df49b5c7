// The settings: what the runs were begun with, those that differ first.
import { $, get, make, number, runPath } from "./common.js";

let shown = "";

export async function showSettings(runs) {
  const all = await Promise.all(runs.map((r) => get(runPath(r.id))));
  const key = JSON.stringify(all.map((r) => [r.id, r.run]));
  if (key === shown) return;
  shown = key;
  const blocks = [];
  for (const [title, of] of [["Options", (r) => r.run?.options], ["Model", (r) => r.run?.model]]) {
    const tables = all.map((r) => flat(of(r)));
    if (tables.some((t) => t.size > 0)) blocks.push(make("h2", {}, title), make("div", { class: "scroll" }, table(runs, tables)));
  }
  if (blocks.length === 0) blocks.push(make("p", { class: "empty" }, runs.length ? "The run's folder holds no run.json yet." : "Choose a run."));
  $("settings").replaceChildren(...blocks);
}

// flat is an object's leaves by their paths; lists are written out.
export function flat(v, at = "", out = new Map()) {
  if (v === undefined || v === null) return out;
  if (typeof v === "object" && !Array.isArray(v) && out.size < 400) {
    for (const [k, x] of Object.entries(v)) flat(x, at ? at + "." + k : k, out);
  } else {
    const text = typeof v === "string" ? v : typeof v === "number" ? (Number.isInteger(v) ? String(v) : number(v)) : JSON.stringify(v);
    out.set(at, text.length > 300 ? text.slice(0, 300) + "..." : text);
  }
  return out;
}

export function table(runs, tables) {
  const names = [...new Set(tables.flatMap((t) => [...t.keys()]))];
  const differs = (n) => new Set(tables.map((t) => t.get(n))).size > 1;
  const order = [...names.filter(differs), ...names.filter((n) => !differs(n))];
  const head = make("thead", {}, make("tr", {}, make("td"), ...runs.map((r) => make("th", { scope: "col" }, r.name))));
  const body = make("tbody", {}, ...order.map((n) => make("tr", { class: differs(n) ? "differs" : "" },
    make("th", { scope: "row" }, (differs(n) ? "≠ " : "") + n), ...tables.map((t) => make("td", {}, t.get(n) ?? "–")))));
  return make("table", {}, ...(runs.length > 1 ? [head] : []), body);
}
