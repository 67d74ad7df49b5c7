// The page of a Sonde server: chat and completion over its own API, streamed; problems.js
// has the problems to click.
// Whatever a model writes goes to the page as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const conversation = []; // {role, content} as the API wants them
let running = null; // the AbortController of the answer under way
let mode = "chat";
const modes = ["problems", "chat", "completion"];
const models = new Map(); // what the server says of each, by name

// ---- settings

// settings are the request's parameters; an empty field leaves one to the server.
function settings() {
  const q = { model: $("model").value || undefined, stream: true, stream_options: { include_usage: true } };
  for (const name of ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"]) {
    const text = $(name).value.trim();
    if (text !== "") q[name] = Number(text);
  }
  const stops = $("stop").value.split("\n").filter((s) => s !== "");
  if (stops.length > 0) q.stop = stops;
  return q;
}

function headers() {
  const h = { "Content-Type": "application/json" };
  if ($("key").value !== "") h.Authorization = "Bearer " + $("key").value;
  return h;
}

// ---- talking to the server

// refusal is the message of an answer that is not 200.
async function refusal(response) {
  if (response.status === 401) {
    $("key-label").hidden = false;
    $("settings").open = true;
    $("key").focus();
  }
  try {
    return (await response.json()).error.message;
  } catch {
    return "The server answered " + response.status + ".";
  }
}

// stream posts a request and calls onEvent with every object of the answer.
async function stream(path, body, signal, onEvent) {
  const response = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  if (!response.ok) throw new Error(await refusal(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The server ended the answer early.");
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const e of events) {
      const data = e.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const o = JSON.parse(data);
      if (o.error) throw new Error(o.error.message);
      onEvent(o);
    }
  }
}

// generate runs one request, shows text as it comes and how fast, and resolves when
// it is over, stopped or failed; it tells which by returning an error message or "", and by
// calling onStop where somebody stopped it.
async function generate(path, body, onText, onStop = () => {}) {
  running = new AbortController();
  showRunning();
  const start = performance.now();
  let first = 0, pieces = 0, usage = null, why = "";
  const speed = (n) => (first && n > 1 ? ((n - 1) / ((performance.now() - first) / 1000)).toFixed(1) + " tokens/s" : "");
  try {
    await stream(path, body, running.signal, (o) => {
      if (o.usage) usage = o.usage;
      for (const c of o.choices) {
        const thought = c.delta && c.delta.reasoning_content;
        const text = thought || (c.delta ? c.delta.content : c.text);
        if (c.finish_reason) why = c.finish_reason;
        if (!text) continue;
        if (!first) first = performance.now();
        pieces++;
        onText(text, Boolean(thought));
        say([pieces + " tokens", speed(pieces)]);
      }
    });
    const n = usage ? usage.completion_tokens : pieces;
    say([usage && usage.prompt_tokens + " tokens read", n + " written", speed(n),
      first && "first after " + ((first - start) / 1000).toFixed(2) + " s", why === "length" && "cut at the most tokens"]);
    return "";
  } catch (err) {
    if (err.name === "AbortError") {
      onStop();
      say([pieces + " tokens", speed(pieces), "stopped"]);
      return "";
    }
    const message = err instanceof TypeError ? "The server cannot be reached." : err.message;
    say([message], true);
    return message;
  } finally {
    running = null;
    showRunning();
  }
}

function say(parts, failed = false) {
  $("status").textContent = parts.filter(Boolean).join(" · ");
  $("status").classList.toggle("failed", failed);
}

function showRunning() {
  for (const [id, idle] of [["send", "Send"], ["go", "Continue"], ["another", "Another one"]]) $(id).textContent = running ? "Stop" : idle;
  for (const id of ["clear", "take", "back", "again", "to-chat", ...modes.map((m) => "tab-" + m)]) $(id).disabled = running !== null;
}

// follow keeps a scrolled-down box scrolled down while change adds to it.
function follow(box, change) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  change();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

// ---- chat

function bubble(role, content, box = $("messages")) {
  const e = document.createElement("div");
  e.className = "message " + role;
  e.textContent = content;
  const empty = box.querySelector(".empty");
  if (empty) empty.hidden = true;
  box.append(e);
  box.scrollTop = box.scrollHeight;
  return e;
}

// answering shows in a bubble what a model writes: the thought in a box that folds when the
// answer begins. What it has written is in thought and answer.
function answering(theirs) {
  const a = { thought: "", answer: "", box: null };
  a.add = (text, isThought) => {
    if (isThought) {
      a.box = a.box || addThoughts(theirs);
      a.box.lastChild.append(text);
      a.thought += text;
      return;
    }
    if (a.answer === "" && a.box) a.box.open = false;
    a.answer += text;
    theirs.append(text);
  };
  return a;
}

async function ask() {
  const content = $("ask").value;
  if (content.trim() === "") return;
  $("ask").value = "";
  conversation.push({ role: "user", content });
  const mine = bubble("user", content);
  const theirs = bubble("assistant", "");
  const system = $("system").value.trim();
  const messages = system ? [{ role: "system", content: system }, ...conversation] : [...conversation];
  const a = answering(theirs);
  const failure = await generate("v1/chat/completions", { ...settings(), messages }, (text, thought) =>
    follow($("messages"), () => a.add(text, thought)));
  if (failure && theirs.textContent === "") {
    // Nothing came: give the question back, so that it can be sent again.
    conversation.pop();
    mine.remove();
    theirs.classList.add("failed");
    theirs.textContent = failure;
    $("ask").value = content;
    return;
  }
  conversation.push({ role: "assistant", content: a.answer });
}

// addThoughts puts a box for the model's thoughts before its answer; they are not sent
// again.
function addThoughts(bubble) {
  const box = document.createElement("details");
  box.className = "thoughts";
  box.open = true;
  const head = document.createElement("summary");
  head.textContent = "Thoughts";
  box.append(head, document.createElement("div"));
  bubble.prepend(box);
  return box;
}

function clearChat() {
  conversation.length = 0;
  for (const e of $("messages").querySelectorAll(".message")) e.remove();
  $("messages").querySelector(".empty").hidden = false;
  say([]);
}

// ---- completion

let continued = "";

async function complete() {
  const text = $("prompt").value;
  const out = $("output");
  const given = document.createElement("span");
  given.className = "given";
  given.textContent = text;
  out.replaceChildren(given);
  continued = "";
  await generate("v1/completions", { ...settings(), prompt: text }, (piece) =>
    follow(out, () => {
      continued += piece;
      out.append(piece);
    }));
}

// ---- wiring

function show(which) {
  mode = which;
  for (const name of modes) {
    const on = name === which;
    $(name).hidden = !on;
    $("tab-" + name).setAttribute("aria-selected", String(on));
    $("tab-" + name).tabIndex = on ? 0 : -1;
  }
  for (const e of document.querySelectorAll(".only-chat")) e.hidden = which !== "chat";
  say([]);
  if (which === "problems") offerProblems();
}

function submit(event) {
  event.preventDefault();
  if (running) running.abort();
  else if (mode === "chat") ask();
  else complete();
}

async function listModels() {
  try {
    const response = await fetch("v1/models", { headers: headers() });
    if (!response.ok) throw new Error(await refusal(response));
    const chosen = $("model").value;
    const list = (await response.json()).data;
    models.clear();
    for (const m of list) models.set(m.id, m);
    $("model").replaceChildren(...list.map((m) => new Option(m.id, m.id, false, m.id === chosen)));
    say([]);
    showModel();
    begin();
  } catch (err) {
    say([err instanceof TypeError ? "The server cannot be reached." : err.message], true);
  }
}

$("chat-form").addEventListener("submit", submit);
$("completion-form").addEventListener("submit", submit);
$("ask").addEventListener("keydown", (e) => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
    e.preventDefault();
    if (!running) ask();
  }
});
$("clear").addEventListener("click", clearChat);
$("take").addEventListener("click", () => {
  $("prompt").value += continued;
  continued = "";
});
for (const name of modes) {
  $("tab-" + name).addEventListener("click", () => show(name));
  $("tab-" + name).addEventListener("keydown", (e) => {
    if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
    const step = e.key === "ArrowRight" ? 1 : modes.length - 1;
    const other = modes[(modes.indexOf(name) + step) % modes.length];
    show(other);
    $("tab-" + other).focus();
  });
}
// showModel puts the chosen model's own settings into fields that nobody has changed.
function showModel() {
  const m = models.get($("model").value);
  if (!m) return;
  for (const name of ["temperature", "top_p"]) {
    if (!$(name).dataset.changed) $(name).value = m[name];
  }
  if (m.about) $("empty").textContent = m.about + " It reads each message alone.";
}

// begin opens the tab that the address names, else the one that suits the model: once.
let begun = false;
function begin() {
  if (begun) return;
  begun = true;
  const named = location.hash.slice(1);
  const first = models.get($("model").value);
  if (modes.includes(named)) show(named);
  else if (first && first.about) show("problems");
}

for (const name of ["temperature", "top_p", "max_tokens"]) $(name).addEventListener("input", () => ($(name).dataset.changed = "yes"));
$("model").addEventListener("change", showModel);
$("key").addEventListener("change", listModels);
$("settings-form").addEventListener("submit", (e) => e.preventDefault());
if (matchMedia("(max-width: 48rem)").matches) $("settings").open = false;
document.addEventListener("DOMContentLoaded", listModels); // when every script has run
