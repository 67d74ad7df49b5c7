#!/usr/bin/env python3
"""Drive a Sonde server with OpenAI's own Python client, for developers.

    sonde serve runs/go --addr 127.0.0.1:8080 &
    pip install openai
    python3 scripts/openai_client.py http://127.0.0.1:8080/v1

Every check prints a line; the exit code is 1 where one fails.
"""
import sys
import threading

import openai

base = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
key = sys.argv[2] if len(sys.argv) > 2 else "none"
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
failed = 0


def check(name, good, detail=""):
    global failed
    failed += not good
    print("ok  " if good else "FAIL", name, "" if good else detail)


def refused(name, kind, says, **request):
    try:
        client.completions.create(**request)
        check(name, False, "it was accepted")
    except kind as e:
        check(name, says in str(e), str(e))


model = client.models.list().data[0].id
check("models.list", model != "")
check("models.retrieve", client.models.retrieve(model).id == model)

talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "func Reverse("}]
fixed = dict(model=model, seed=7, temperature=0.8, max_tokens=24)
whole = client.chat.completions.create(messages=talk, **fixed)
choice = whole.choices[0]
check("chat", choice.message.role == "assistant" and choice.finish_reason in ("stop", "length"), whole)
check("chat usage", whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0, whole.usage)

parts, usage, finish = [], None, None
for chunk in client.chat.completions.create(messages=talk, stream=True, stream_options={"include_usage": True}, **fixed):
    usage = chunk.usage or usage
    for c in chunk.choices:
        parts.append(c.delta.content or "")
        finish = c.finish_reason or finish
check("chat stream equals the whole answer", "".join(parts) == choice.message.content, (parts, choice.message.content))
check("chat stream usage and end", usage == whole.usage and finish == choice.finish_reason, (usage, finish))

two = client.chat.completions.create(messages=talk, n=2, logprobs=True, top_logprobs=3, **fixed)
check("n=2", [c.index for c in two.choices] == [0, 1] and two.choices[0].message.content == choice.message.content, two)
lp = two.choices[0].logprobs.content
check("chat logprobs", len(lp) > 0 and all(t.logprob <= 0 and len(t.top_logprobs) == 3 for t in lp), lp)
check("chat logprob bytes", b"".join(bytes(t.bytes) for t in lp).decode(errors="replace") == choice.message.content, lp)

text = client.completions.create(prompt="func Reverse(", **fixed)
again = "".join(c.choices[0].text for c in client.completions.create(prompt="func Reverse(", stream=True, **fixed))
check("completion stream equals the whole text", again == text.choices[0].text, (again, text.choices[0].text))
echo = client.completions.create(model=model, prompt="func Reverse(", echo=True, logprobs=1, max_tokens=0)
check("echo", echo.choices[0].text == "func Reverse(" == "".join(echo.choices[0].logprobs.tokens), echo)
many = client.completions.create(model=model, prompt=["func A(", "func B("], max_tokens=4)
check("two prompts", len(many.choices) == 2, many)
stop = client.completions.create(model=model, prompt="func Reverse(", max_tokens=64, temperature=0, stop=[text.choices[0].text[:1]])
check("stop", text.choices[0].text[:1] not in stop.choices[0].text, stop)
extra = client.completions.create(prompt="func", extra_body={"top_k": 1, "min_p": 0.1}, **fixed)
greedy = client.completions.create(model=model, prompt="func", temperature=0, max_tokens=24)
check("top_k=1 is greedy", extra.choices[0].text == greedy.choices[0].text, (extra, greedy))

bad, nowhere = openai.BadRequestError, openai.NotFoundError
refused("unknown model", nowhere, "nothing", model="nothing", prompt="x")
refused("negative max_tokens", bad, "max_tokens", model=model, prompt="x", max_tokens=-1)
refused("too hot", bad, "temperature", model=model, prompt="x", temperature=-1)
refused("too long", bad, "context", model=model, prompt="x y " * 200000)
refused("unknown parameter", bad, "frobnicate", model=model, prompt="x", extra_body={"frobnicate": 1})

answers = [None] * 6


def ask(i):
    answers[i] = client.completions.create(prompt="func Reverse(", **fixed).choices[0].text


threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(answers))]
for t in threads:
    t.start()
for t in threads:
    t.join()
check("six at a time, each as alone", set(answers) == {text.choices[0].text}, answers)
sys.exit(1 if failed else 0)
