"""Runs an untrusted program on calls inside the sandbox and reports the result of each call.

Lines of JSON go to descriptor 3: `ready`, after which descriptor 0 carries the job (program, calls, limits), `loaded`, then
one per call. A value is reported as a digest that is equal for equal values. The parent compares it with the digest of the
ground truth, which runs in another process: a program that manipulates this one can only falsify its own results.
"""

import json
import os
import resource
import sys

CHANNEL = 3


def digests_of(value, each=False):
    """The digest of a value; of one with a Counter also a second one, in which entries of 0 do not count, as between two Counters.

    One digest cannot do: Counter(a=0) == Counter() and Counter() == {}, but Counter(a=0) != {}."""
    import hashlib

    encoding, has_counter = encoding_of(value, each)
    digests = {"digest": hashlib.sha256(encoding).hexdigest()}
    if has_counter:
        digests["counted"] = hashlib.sha256(encoding_of(value, each, True)[0]).hexdigest()
    return digests


def encoding_of(value, each=False, counted=False):
    """The value as bytes, the same for values that are equal by ==, and for two NaNs; and whether a Counter is in it.

    A Counter is a dict, or, if `counted`, something else than a dict, without its entries of 0. In the mode "each", what the released evaluator takes for unequal raises: a NaN, and an array of numpy that has not
    exactly one element, whose == has no truth value."""
    import collections
    import datetime
    import decimal
    import fractions

    counters = []

    def tagged(tag, payload):
        return b"%s%d:%s" % (tag, len(payload), payload)

    def group(tag, members):
        return tagged(tag, b"".join(members))

    def ratio(n, d):
        return tagged(b"n", b"%x/%x" % (n, d))

    def number(x):
        if isinstance(x, complex):
            x = complex(x)
            return number(x.real) if x.imag == 0 else group(b"c", [number(x.real), number(x.imag)])
        if isinstance(x, (float, decimal.Decimal)):
            if x != x:
                if each:
                    raise ValueError("NaN does not equal itself")
                return tagged(b"n", b"nan")
            if x in (float("inf"), float("-inf")):
                return tagged(b"n", b"inf" if x > 0 else b"-inf")
            if isinstance(x, decimal.Decimal) and abs(x.adjusted()) > 5000:
                return tagged(b"D", str(x.normalize()).encode())
        return ratio(*x.as_integer_ratio())

    def encoded(x):
        if x is None or x is Ellipsis or x is NotImplemented:
            return tagged(b"o", repr(x).encode())
        if isinstance(x, (int, float, complex, decimal.Decimal, fractions.Fraction)):
            return number(x)
        if isinstance(x, str):
            return tagged(b"s", str.encode(x, "utf-8", "surrogatepass"))
        if isinstance(x, (bytes, bytearray)):
            return tagged(b"b", bytes(x))
        if isinstance(x, list):
            return group(b"l", [encoded(each) for each in x])
        if isinstance(x, tuple):
            return group(b"t", [encoded(each) for each in x])
        if isinstance(x, collections.deque):
            return group(b"q", [encoded(each) for each in x])
        if isinstance(x, dict):
            entries = [(encoded(key), encoded(each)) for key, each in x.items()]
            if isinstance(x, collections.Counter):
                counters.append(True)
                if counted:
                    return group(b"C", sorted(key + count for key, count in entries if count != encoded(0)))
            return group(b"m", sorted(key + each for key, each in entries))
        if isinstance(x, (set, frozenset)):
            return group(b"S", sorted(encoded(each) for each in x))
        if isinstance(x, range):
            return group(b"r", [encoded(each) for each in (len(x), x[0] if x else 0, x.step if len(x) > 1 else 0)])
        if isinstance(x, datetime.datetime):
            if x.utcoffset() is not None:
                x = x.astimezone(datetime.timezone.utc)
            return tagged(b"T", x.isoformat().encode())
        if isinstance(x, (datetime.date, datetime.time)):
            return tagged(b"d" if isinstance(x, datetime.date) else b"i", x.isoformat().encode())
        if isinstance(x, datetime.timedelta):
            return group(b"w", [encoded((x.days, x.seconds, x.microseconds))])
        if type(x).__module__ == "numpy":
            plain = x.tolist()
            shape = getattr(x, "shape", ())
            if each and shape:
                if x.size != 1:
                    raise ValueError("the truth value of an array is ambiguous")
                return encoded(x.item())
            return group(b"a", [encoded(tuple(shape)), encoded(plain)]) if shape else encoded(plain)
        raise TypeError("a result of class %s cannot be compared" % type(x).__name__)

    return encoded(value), bool(counters)


def shown(value):
    import reprlib

    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 120
    return short.repr(value)[:200]


def error_of(error):
    text = "%s: %s" % (type(error).__name__, error)
    return text[:200]


def attempt(action):
    """The result of an action, or its error as text; catches every class, including SystemExit."""
    try:
        return action(), None
    except BaseException as error:
        try:
            return None, error_of(error)
        except BaseException:
            return None, "an error that cannot be printed"


def limit(name, value, hard=None):
    _, most = resource.getrlimit(name)
    soft, hard = (each if most == resource.RLIM_INFINITY else min(each, most) for each in (value, hard or value))
    resource.setrlimit(name, (soft, hard))


def read_job():
    with os.fdopen(0, "rb", closefd=False) as job:
        text = job.read()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return json.loads(text)


def report(line):
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(CHANNEL, data) :]


def evaluate_released(program, call):
    """The value of a call as the released evaluator computes it: the program's own names are the locals of a function, so a
    function of the program sees neither them nor itself."""
    space = {"__name__": "answer", "__builtins__": __builtins__}
    import signal

    space["signal"] = signal
    # Slow to import; a program that does not name them cannot see them.
    if "multiprocessing" in program + call or "Empty" in program + call:
        import multiprocessing
        from queue import Empty

        space.update(multiprocessing=multiprocessing, Empty=Empty)
    scope = {"function_definition": program, "test_case": call}
    exec(compile(program, "<answer>", "exec"), space, scope)
    return eval(compile(call.strip(), "<call>", "eval"), space, scope)


def main():
    # The parent's other descriptors must not be reachable.
    os.closerange(CHANNEL + 1, 2**20)
    # Imports must not find files beside this one.
    del sys.path[0]
    report({"kind": "ready"})
    job = read_job()
    limits = job["limits"]
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_MEMLOCK, 0)
    limit(resource.RLIMIT_NOFILE, limits["files"])
    limit(resource.RLIMIT_FSIZE, limits["fileBytes"])
    # SIGXCPU at the soft limit gives the reason; SIGKILL at the hard limit cannot be ignored.
    limit(resource.RLIMIT_CPU, limits["cpuSeconds"], limits["cpuSeconds"] + 1)
    limit(resource.RLIMIT_AS, limits["memoryBytes"])

    each = job["mode"] == "each"
    # Another name than __main__, so that `if __name__ == '__main__'` blocks do not run.
    space = {"__name__": "answer", "__builtins__": __builtins__}
    _, error = attempt(lambda: None if each else exec(compile(job["program"], "<answer>", "exec"), space))
    report({"kind": "loaded"} if error is None else {"kind": "failed", "error": error})
    if error is not None:
        os._exit(0)
    for call in job["calls"]:

        def outcome():
            if each:
                value = evaluate_released(job["program"], call)
            else:
                value = eval(compile(call.strip(), "<call>", "eval"), space)
            return {"kind": "value", **digests_of(value, each), "shown": attempt(lambda: shown(value))[0]}

        line, error = attempt(outcome)
        report(line if error is None else {"kind": "error", "error": error})
    # Running threads and atexit handlers must not delay the exit.
    os._exit(0)


if __name__ == "__main__":
    main()
