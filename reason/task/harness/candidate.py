"""Answers calls of a function of a program that nobody trusts.

The first line of standard input is {"code": ..., "entry": ...}, every further one a call,
[arguments, named arguments]; each call gets one line on standard output: {"ok": result} or
{"error": the exception's name, "text": ...}. Values are written as "pack" does. Whoever
calls is another process, which believes nothing but that this is what the function
returned.
"""

import json
import os
import sys

PACKING


def main():
    calls = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)  # what the program reads is no call
    os.dup2(2, 1)  # what it prints is no reply
    job = json.loads(calls.readline())
    names = {"__name__": "answer"}
    exec(compile(job["code"], "answer.py", "exec"), names)
    function = names.get(job["entry"])
    if not callable(function):
        print("there is no function", job["entry"], file=sys.stderr)
        sys.exit(1)
    for line in calls:
        try:
            args, named = map(unpack, json.loads(line))
            reply = json.dumps({"ok": pack(function(*args, **named))})
        except BaseException as e:
            reply = json.dumps({"error": type(e).__name__, "text": str(e)[:200]})
        replies.write(reply + "\n")
        replies.flush()


main()
