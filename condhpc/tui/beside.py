"""Work that may take long, in a thread beside the screen: a hanging file system or scheduler never freezes it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from textual.dom import DOMNode
from textual.worker import Worker

T = TypeVar("T")


async def beside(work: Callable[[], T]) -> T:
    """The result of `work`, or its error. A daemon thread: the program ends even while the work hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(found: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the program ended meanwhile
            loop.call_soon_threadsafe(lambda: None if done.done() else found())

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # whoever waits gets it
            failed = error
            settle(lambda: done.set_exception(failed))
        else:
            settle(lambda: done.set_result(result))

    threading.Thread(target=run, name="beside", daemon=True).start()
    return await done


def begin(
    node: DOMNode, work: Callable[[], Coroutine[Any, Any, None]], group: str, *, exclusive: bool = False
) -> Worker[None]:
    """Start work of a widget that goes on between keys; `exclusive` ends what its group does already."""

    async def run() -> None:
        await work()

    return node.run_worker(run, group=group, exclusive=exclusive)
