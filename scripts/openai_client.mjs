// Drive a Sonde server with OpenAI's own JavaScript client, for developers.
//
//     sonde serve runs/go --addr 127.0.0.1:8080 &
//     npm install openai
//     node scripts/openai_client.mjs http://127.0.0.1:8080/v1
//
// Every check prints a line; the exit code is 1 where one fails.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// The client is looked for where npm was run, not beside this file.
const near = createRequire(pathToFileURL(join(process.cwd(), "here.js")));
const { OpenAI } = near("openai");

const baseURL = process.argv[2] ?? "http://127.0.0.1:8080/v1";
const client = new OpenAI({ baseURL, apiKey: process.argv[3] ?? "none", maxRetries: 0 });
let failed = false;

function check(name, good, detail) {
  failed ||= !good;
  console.log(good ? "ok  " : "FAIL", name, good ? "" : JSON.stringify(detail));
}

const model = (await client.models.list()).data[0].id;
check("models.list", model !== "");

const fixed = { model, seed: 7, temperature: 0.8, max_tokens: 24 };
const messages = [{ role: "user", content: "func Reverse(" }];
const whole = await client.chat.completions.create({ ...fixed, messages });
const content = whole.choices[0].message.content;
check("chat", ["stop", "length"].includes(whole.choices[0].finish_reason), whole);

let text = "", usage;
for await (const chunk of await client.chat.completions.create({ ...fixed, messages, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
check("chat stream equals the whole answer", text === content, [text, content]);
check("chat stream usage", usage?.total_tokens === whole.usage.total_tokens, usage);

// The helper of the client that puts a stream together.
const helped = await client.chat.completions.stream({ ...fixed, messages }).finalContent();
check("stream helper", helped === content, [helped, content]);

const one = await client.completions.create({ ...fixed, prompt: "func Reverse(" });
let again = "";
for await (const chunk of await client.completions.create({ ...fixed, prompt: "func Reverse(", stream: true })) again += chunk.choices[0].text;
check("completion stream equals the whole text", again === one.choices[0].text, [again, one]);

// Leaving a stream early frees its place: afterwards everything still works.
const left = await client.completions.create({ ...fixed, max_tokens: 500, prompt: "func", stream: true });
for await (const _ of left) break;
const health = await (await fetch(new URL("/health", baseURL))).json();
check("leaving a stream", health.status === "ok" && health.waiting === 0, health);

for (const [name, request, status] of [
  ["unknown model", { model: "nothing", prompt: "x" }, 404],
  ["negative max_tokens", { model, prompt: "x", max_tokens: -1 }, 400],
  ["response_format", { model, messages, response_format: { type: "json_object" } }, 400],
]) {
  try {
    await (request.messages ? client.chat : client).completions.create(request);
    check(name, false, "it was accepted");
  } catch (e) {
    check(name, e.status === status && e.error?.message, e);
  }
}
process.exit(failed ? 1 : 0);
