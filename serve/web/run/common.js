// What the parts of the page share: the server, numbers as text, small elements.
// Whatever comes from a run goes to the page as text, never as HTML.

export const $ = (id) => document.getElementById(id);

// get asks the server for JSON.
export async function get(path) {
  const key = $("key").value;
  const response = await fetch(path, { headers: key ? { Authorization: "Bearer " + key } : {} });
  if (response.status === 401) {
    $("key-form").hidden = false;
    throw new Error("This server asks for a key.");
  }
  if (!response.ok) {
    let message = "The server answered " + response.status + ".";
    try {
      message = (await response.json()).error.message;
    } catch {
      // not the server's own error
    }
    throw new Error(message);
  }
  return response.json();
}

export const runPath = (id, rest = "") => "api/runs/" + encodeURIComponent(id) + rest;

// make builds an element: make("p", {class: "x", onclick: f}, "text", child, ...).
export function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (value === true) e.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) e.setAttribute(name, value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

const SVG = "http://www.w3.org/2000/svg";

// swatch is a short stroke in a run's colour and dashes.
export function swatch(style) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("viewBox", "0 0 26 8");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "line");
  const set = { x1: 1, x2: 25, y1: 4, y2: 4, stroke: style.color, "stroke-width": 3, "stroke-dasharray": style.dash.join(" ") || "none" };
  for (const [k, v] of Object.entries(set)) line.setAttribute(k, v);
  svg.append(line);
  return svg;
}

// number is v in few characters.
export function number(v) {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  const a = Math.abs(v);
  if (a === 0) return "0";
  if (a >= 1e9) return trim((v / 1e9).toPrecision(3)) + "G";
  if (a >= 1e6) return trim((v / 1e6).toPrecision(3)) + "M";
  if (a >= 1e4) return trim((v / 1e3).toPrecision(3)) + "k";
  if (a < 1e-3) return v.toExponential(1).replace("e-", "e−");
  return trim(v.toPrecision(4));
}

const trim = (s) => (s.includes(".") ? s.replace(/\.?0+$/, "") : s);

export const percent = (v) => (v === null || v === undefined ? "–" : trim((100 * v).toFixed(1)) + "\u00a0%");

// clock is a number of seconds as people say it.
export function clock(s) {
  if (s < 1) return trim(s.toFixed(2)) + " s";
  if (s < 90) return Math.round(s) + " s";
  if (s < 5400) return trim((s / 60).toFixed(1)) + " min";
  return trim((s / 3600).toFixed(2)) + " h";
}

export const stateMarks = { done: "✓", running: "▶", waiting: "○", stopped: "■" };

// style gives a run its colour and dashes: told apart by either.
const slots = new Map();
const dashes = [[], [9, 5], [2, 4], [14, 4, 2, 4], [5, 3], [18, 6]];

export function styleOf(id) {
  if (!slots.has(id)) {
    let n = 0;
    while ([...slots.values()].includes(n)) n++;
    slots.set(id, n);
  }
  const n = slots.get(id);
  const css = getComputedStyle(document.documentElement);
  return { color: css.getPropertyValue("--run" + (n % 8)).trim(), dash: dashes[n % dashes.length] };
}

export function freeStyle(id) {
  slots.delete(id);
}

// copied keeps an element's children when they would not change, so that focus and
// selection stay where they are.
export function fill(parent, key, build) {
  if (parent.dataset.key === key) return;
  parent.dataset.key = key;
  parent.replaceChildren(...build());
}
