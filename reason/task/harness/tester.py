"""Runs asserts about a function that is called in another process.

The first line of standard input is {"prompt": ..., "test": ..., "entry": ...}: Python that
defines what the tests may use beside the function, and Python that defines
check(candidate). Standard output gets {"call": [arguments, named arguments]} whenever the
tests call the function, which must be answered by one line on standard input, {"ok": ...}
or {"error": ..., "text": ...}; and last {"passed": true}, {"failed": why}, or {"broken":
why} where the tests themselves do not run. Nothing of the function's own program is run
here: replies are plain data.
"""

import builtins
import json
import os
import sys

PACKING


def main():
    lines = os.fdopen(os.dup(0), "r", encoding="utf-8")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(2, 1)
    calls = 0

    def say(what):
        out.write(json.dumps(what) + "\n")
        out.flush()

    def candidate(*args, **named):
        nonlocal calls
        say({"call": [*map(pack, (args, named))]})
        calls += 1
        reply = json.loads(lines.readline())
        if "ok" in reply:
            return unpack(reply["ok"])
        kind = getattr(builtins, str(reply.get("error")), None)
        if not isinstance(kind, type) or not issubclass(kind, Exception) or kind is AssertionError:
            kind = RuntimeError
        try:
            problem = kind(str(reply.get("text"))[:200])
        except TypeError:
            problem = RuntimeError(reply["error"])
        raise problem

    job = json.loads(lines.readline())
    names = {"__name__": "tests"}
    try:
        for prompt in (job["prompt"], job["prompt"] + "\n    pass\n"):
            try:
                code = compile(prompt, "prompt.py", "exec")
            except SyntaxError:
                continue
            exec(code, names)
            break
        names[job["entry"]] = candidate
        exec(compile(job["test"], "test.py", "exec"), names)
        check = names["check"]
    except BaseException as e:
        return say({"broken": type(e).__name__ + ": " + str(e)[:200]})
    try:
        check(candidate)
    except BaseException as e:
        why = type(e).__name__ + ": " + str(e)[:200]
        return say({"failed": why} if calls else {"broken": why})
    say({"passed": True} if calls else {"broken": "they never call the function"})


main()
