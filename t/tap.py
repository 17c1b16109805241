"""What a test in Python says, as TAP, and how it waits.

A point that holds leads nowhere, one that does not says what was seen; the test goes on."""
import os, sys, time

# Seconds that something may take which takes milliseconds; SLOW: on a machine so many times slower.
SLOW = int(os.environ.get("SLOW", "1"))
WAIT = 60 * SLOW

tests = failed = 0


def ok(good, name, note=None):
    global tests, failed
    tests += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {tests} - {name}", flush=True)
    if not good and note not in (None, ""):
        for line in str(note).splitlines()[:40]:
            print(f"# {line[:600]}", flush=True)
    return bool(good)


def say(*words):
    print("#", *words, flush=True)


def done():
    print(f"1..{tests}")
    sys.exit(1 if failed else 0)


def until(what, why="", seconds=WAIT, pause=0.01):
    """Wait until what() is true and return that; after too long say what was last seen."""
    end = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {why}; last seen: {value!r}")
        time.sleep(pause)
    return value
