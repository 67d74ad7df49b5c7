// Drives the page's problems in a Chromium, with puppeteer-core:
//
//   go run ./cmd/sonde serve --addr 127.0.0.1:8099 &
//   npm install puppeteer-core && node scripts/page_problems.mjs http://127.0.0.1:8099 [FOLDER FOR SCREENSHOTS]
//
// CHROMIUM names the browser (default: /usr/bin/chromium). Exits with 1 where something is
// not as it should be. The model's own answers may be wrong; what the page makes of right
// and wrong ones is tried with answers put in its mouth.
import { createRequire } from "module";
import { strict as assert } from "assert";
const puppeteer = createRequire(process.cwd() + "/")("puppeteer-core");

const [url, shots] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"], headless: true });
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

// open gives a page of that size; says, where set, is what the model answers.
async function open(width, height, dark, path = "") {
  const page = await browser.newPage();
  await page.setViewport({ width, height, deviceScaleFactor: 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  page.failures = [];
  page.on("pageerror", (e) => page.failures.push(String(e)));
  page.on("console", (m) => m.type() === "error" && page.failures.push(m.text()));
  page.says = null;
  await page.setRequestInterception(true);
  page.on("request", (q) => {
    if (page.says === null || !q.url().endsWith("/v1/chat/completions")) return q.continue();
    const chunk = (delta, finish = null) => "data: " + JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] }) + "\n\n";
    q.respond({ status: 200, contentType: "text/event-stream",
      body: (page.says.thought ? chunk({ reasoning_content: page.says.thought }) : "") + chunk({ content: page.says.answer }) + chunk({}, "stop") + "data: [DONE]\n\n" });
  });
  await page.goto(url + "/" + path);
  await page.waitForFunction(() => document.querySelector("#model").options.length > 0);
  return page;
}

const text = (page, selector) => page.$eval(selector, (e) => e.textContent);
const cards = async (page) => {
  await page.waitForFunction(() => document.querySelectorAll(".card").length > 10);
  return page.$$eval(".card", (list) => list.map((e) => e.textContent));
};
const verdict = async (page) => {
  await page.waitForSelector(".verdict", { timeout: 60000 });
  return text(page, ".verdict");
};
const shot = (page, name) => shots && page.screenshot({ path: `${shots}/${name}.png` });
const fits = async (page, what) => {
  const [inner, wide] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
  assert.ok(wide <= inner, `${what}: the page is ${wide} wide in a window of ${inner}`);
};

// The answer to a problem, as the verifier tells it to who is wrong.
async function rightAnswer(task, seed, difficulty = 0) {
  const body = JSON.stringify({ task, seed, difficulty, output: "no idea" });
  return (await (await fetch(url + "/v1/sonde/verify", { method: "POST", body })).json()).answer;
}

for (const [name, width, height, dark] of [["desk", 1200, 820, false], ["desk-dark", 1200, 820, true], ["phone", 390, 800, false], ["phone-dark", 390, 800, true]]) {
  const page = await open(width, height, dark, "#problems");
  // The same seed shows the same problems, another one others.
  const first = await cards(page);
  assert.equal(await page.$eval("#tab-problems", (e) => e.getAttribute("aria-selected")), "true");
  await page.click("#renew");
  await page.waitForFunction((was) => [...document.querySelectorAll(".card")].map((e) => e.textContent).join() !== was, {}, first.join());
  const retype = async (seed) => {
    const before = (await cards(page)).join();
    await page.$eval("#problem-seed", (e, s) => { e.value = s; e.dispatchEvent(new Event("change")); }, seed);
    await page.waitForFunction((was) => [...document.querySelectorAll(".card")].map((e) => e.textContent).join() !== was, {}, before);
    return cards(page);
  };
  const five = (await retype("5")).join();
  await retype("6");
  assert.equal((await retype("5")).join(), five, "seed 5 shows different problems the second time");
  await fits(page, name + " cards");
  await shot(page, name + "-cards");

  // A right answer with a thought: the thought folds, the verifier agrees.
  page.says = { thought: "I add them up one by one.\n3 9 2 0", answer: await rightAnswer("chain-sum", 5) };
  await page.click('.card[data-task="chain-sum"]');
  assert.match(await verdict(page), /^✓ The verifier agrees/);
  assert.equal(await page.$eval(".thoughts", (e) => e.open), false, "the thought is not folded");
  assert.match(await text(page, ".thoughts"), /one by one/);
  assert.match(await text(page, ".message.user"), /\d/);
  await page.click(".thoughts summary");
  await shot(page, name + "-right");

  // A wrong one: the reason and the right answer.
  page.says = { thought: "Hm.", answer: "no idea" };
  await page.click("#again");
  assert.match(await verdict(page), /^✗ The verifier disagrees: .+ A right answer: /);
  await page.click("#back");
  const map = await rightAnswer("grid-paths", 5);
  page.says = { thought: "0: 24\n1: 14 23", answer: map === "U" ? "D" : "U" };
  await page.click('.card[data-task="grid-paths"]');
  assert.match(await verdict(page), new RegExp("A right answer: " + map));
  await fits(page, name + " attempt");
  await shot(page, name + "-wrong");

  // Honest about what it cannot do.
  await page.click("#back");
  page.says = { answer: await rightAnswer("off-topic", 5) };
  await page.click('.card[data-task="off-topic"]');
  assert.match(await verdict(page), /^✓/);
  await shot(page, name + "-honest");

  // The model itself, streamed; another problem of the kind; larger ones; to the chat.
  page.says = null;
  await page.click("#back");
  await page.click('.card[data-task="sorting"]');
  await sleep(150);
  await shot(page, name + "-model");
  assert.match(await verdict(page), /^[✓✗]/);
  const question = await text(page, ".message.user");
  page.says = { answer: "1" };
  await page.click("#another");
  await page.waitForFunction((was) => document.querySelector(".message.user").textContent !== was, {}, question);
  await verdict(page);
  await page.click("#to-chat");
  assert.equal(await page.$eval("#tab-chat", (e) => e.getAttribute("aria-selected")), "true");
  assert.notEqual(await page.$eval("#ask", (e) => e.value), "");
  await page.click("#tab-problems");
  await page.click("#back");
  await page.click("#harder");
  await page.waitForFunction((was) => [...document.querySelectorAll(".card")].map((e) => e.textContent).join() !== was, {}, five);
  assert.deepEqual(page.failures, [], name);
  await page.close();
  console.log(name + ": ok");
}
await browser.close();
