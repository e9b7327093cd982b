"""Plain twin of the kernels of `dolmix.text.list_hashes`."""


def fnv(data: bytes) -> int:
    """64-bit FNV-1a."""
    code = 0xCBF29CE484222325
    for byte in data:
        code = (code ^ byte) * 0x100000001B3 % 2**64
    return code


def entries(data: bytes) -> list[bytes]:
    """Entries of a list: lines stripped of ASCII white space, none empty, none a comment."""
    lines = (line.strip(b"\t\n\x0b\x0c\r ") for line in data.split(b"\n"))
    return [line for line in lines if line and not line.startswith(b"#")]
