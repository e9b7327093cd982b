"""Other processes of this machine."""

import os


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number; one that nobody has waited for counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
