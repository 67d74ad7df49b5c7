// The problems to click: one of each family, made by the server from a seed. The chosen
// model's answer goes back to the server, whose verifier judges it.
"use strict";

let offered = null; // the seed and difficulty that the cards show
let problem = null; // the one that was clicked

// mostTokens bounds a thought; the context may end it earlier.
const mostTokens = 4096;

// ask for JSON, by GET or with a body.
async function json(path, body) {
  const how = body ? { method: "POST", headers: headers(), body: JSON.stringify(body) } : { headers: headers() };
  const response = await fetch(path, how);
  if (!response.ok) throw new Error(await refusal(response));
  return response.json();
}

// complain shows what went wrong.
function complain(err) {
  say([err instanceof TypeError ? "The server cannot be reached." : err.message], true);
}

const chance = () => Math.floor(Math.random() * 1e6);

// title is a family's name for people.
const title = (name) => (name === "off-topic" ? "Something else" : name[0].toUpperCase() + name.slice(1).replaceAll("-", " "));

// draw asks for a problem of a family; nothing but its question comes.
function draw(task, seed) {
  const difficulty = $("harder").checked ? task.hard : task.default;
  return json("v1/sonde/problems?" + new URLSearchParams({ task: task.name, seed, difficulty }));
}

// offerProblems fills the cards, unless they show what is asked for already.
async function offerProblems() {
  if ($("problem-seed").value === "") $("problem-seed").value = chance();
  const seed = $("problem-seed").value;
  const wanted = seed + ($("harder").checked ? " hard" : "");
  if (offered === wanted) return;
  try {
    const { tasks } = await json("v1/sonde/tasks");
    const problems = await Promise.all(tasks.map((t) => draw(t, seed)));
    $("cards").replaceChildren(...tasks.map((t, i) => card(t, problems[i])));
    offered = wanted;
    say([]);
  } catch (err) {
    complain(err);
  }
}

function card(task, p) {
  const b = document.createElement("button");
  b.type = "button";
  b.className = "card";
  b.dataset.task = task.name;
  b.title = task.description;
  const kind = document.createElement("span");
  kind.className = "kind";
  kind.textContent = title(task.name);
  const text = document.createElement("span");
  text.className = "question" + (p.prompt.includes("\n") ? " drawn" : "");
  text.textContent = p.prompt.trim() || "(nothing)";
  b.append(kind, text);
  b.addEventListener("click", () => solve(task, p));
  return b;
}

// solve shows a problem and lets the model try it.
async function solve(task, p) {
  if (running) return;
  problem = { task, p };
  $("offer").hidden = true;
  $("attempt").hidden = false;
  $("kind").textContent = title(p.task) + ($("harder").checked ? ", larger than in training" : "");
  $("trial").replaceChildren();
  $("attempt").scrollIntoView({ block: "nearest" });
  const mine = bubble("user", p.prompt, $("trial"));
  if (p.prompt.includes("\n")) mine.classList.add("drawn");
  const theirs = bubble("assistant", "", $("trial"));
  const a = answering(theirs);
  const body = { ...settings(), messages: [{ role: "user", content: p.prompt }] };
  if (!$("max_tokens").dataset.changed) body.max_tokens = mostTokens;
  let whole = true;
  const failure = await generate("v1/chat/completions", body, (text, thought) => follow($("trial"), () => a.add(text, thought)), () => (whole = false));
  if (failure) {
    theirs.classList.add("failed");
    theirs.append(failure);
  } else if (whole) {
    await judge(p, a);
  }
}

// judge asks the verifier and shows its verdict.
async function judge(p, a) {
  const line = document.createElement("p");
  const output = a.box ? "<think>\n" + a.thought + "\n</think>\n\n" + a.answer : a.answer;
  try {
    const v = await json("v1/sonde/verify", { task: p.task, seed: p.seed, difficulty: p.difficulty, split: p.split, output });
    line.className = "verdict " + (v.right ? "right" : "wrong");
    if (v.right) line.textContent = "✓ The verifier agrees.";
    else if (v.score > 0) line.textContent = "✗ Right in part (" + v.score.toFixed(2) + "): " + v.reason + ". ";
    else line.textContent = "✗ The verifier disagrees: " + v.reason + ". ";
    if (!v.right) line.append("A right answer: ", code(v.answer));
  } catch (err) {
    line.className = "verdict wrong";
    line.textContent = "The verifier could not be asked: " + err.message;
  }
  $("trial").append(line);
  $("trial").scrollTop = $("trial").scrollHeight;
}

function code(text) {
  const e = document.createElement("code");
  e.textContent = text;
  return e;
}

// another draws a new problem of the same family and solves it.
async function another() {
  if (running) return running.abort();
  try {
    solve(problem.task, await draw(problem.task, chance()));
  } catch (err) {
    complain(err);
  }
}

function toChat() {
  show("chat");
  $("ask").value = problem.p.prompt;
  $("ask").focus();
}

function back() {
  $("attempt").hidden = true;
  $("offer").hidden = false;
  say([]);
}

$("renew").addEventListener("click", () => {
  $("problem-seed").value = chance();
  offerProblems();
});
$("problem-seed").addEventListener("change", offerProblems);
$("harder").addEventListener("change", offerProblems);
$("another").addEventListener("click", another);
$("again").addEventListener("click", () => solve(problem.task, problem.p));
$("to-chat").addEventListener("click", toChat);
$("back").addEventListener("click", back);
