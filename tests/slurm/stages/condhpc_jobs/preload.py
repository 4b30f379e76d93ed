"""Nothing to preload."""


def pick_device(wanted):
    """There is no GPU behind a made-up GRES."""
    return "cpu"


def environment(device):
    """No torch, no versions of it."""
    return {}
