"""Methods run torch on one thread here: the machine is shared, and bits must not depend on its cores."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One torch thread."""
    torch.set_num_threads(1)
