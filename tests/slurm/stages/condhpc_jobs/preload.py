"""Nothing to preload."""


def pick_device(wanted):
    """There is no GPU behind a made-up GRES."""
    return "cpu"


def gpu_uuids(device):
    """None of a CPU."""
    return ()


def gpu_type(device):
    """None of a CPU."""
    return ""


def environment(device):
    """No torch, no versions of it."""
    return {}
