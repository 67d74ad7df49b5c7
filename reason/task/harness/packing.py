def pack(value, depth=0):
    """Turns plain data into what JSON can hold: scalars as they are, containers as arrays
    that begin with their kind's letter. What derives from a plain type counts as that."""
    if depth > 100:
        raise ValueError("a value is nested too deeply")
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind, plain in ((int, int.__int__), (float, float.__float__), (str, str.__str__)):
        if isinstance(value, kind):
            return plain(value)
    for kind, letter in ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "z")):
        if isinstance(value, kind):
            return [letter] + [pack(v, depth + 1) for v in kind.__iter__(value)]
    if isinstance(value, dict):
        return ["d"] + [[pack(k, depth + 1), pack(v, depth + 1)] for k, v in dict.items(value)]
    if isinstance(value, (bytes, bytearray)):
        return ["b", bytes(value).hex()]
    if isinstance(value, complex):
        return ["c", value.real, value.imag]
    raise TypeError("a value is a " + type(value).__name__ + ", which is no plain data")


def unpack(value):
    """The inverse of pack; it makes nothing but plain data."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is not list or not value:
        raise ValueError("a value that was not packed")
    letter, rest = value[0], value[1:]
    if letter in ("l", "t", "s", "z"):
        return {"l": list, "t": tuple, "s": set, "z": frozenset}[letter](unpack(v) for v in rest)
    if letter == "d":
        return {unpack(k): unpack(v) for k, v in rest}
    if letter == "b":
        return bytes.fromhex(rest[0])
    if letter == "c":
        return complex(*map(float, rest))
    raise ValueError("a value that was not packed")
