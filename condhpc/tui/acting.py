"""Actions on what is selected in the view in front: keys, questions before anything that cannot be undone, results."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from textual.binding import Binding, BindingType

from condhpc import action_text, tables
from condhpc.action_text import counted
from condhpc.errors import CondhpcError
from condhpc.findings import Row, Snapshot
from condhpc.outlook import FailureGroup
from condhpc.spec import STAGES, Stage
from condhpc.tui.ask import Ask, Field, positive, whole_number
from condhpc.tui.beside import begin, beside
from condhpc.tui.doer import Doer
from condhpc.tui.frame import Frame
from condhpc.tui.help import Menu
from condhpc.tui.view import Setting, View

T = TypeVar("T")
_LONG_S = 12.0
_CHANGING = frozenset({"cancel_tasks", "retry_tasks", "hold", "throttle"})
_HOLDS = ("hold these tasks", "release these tasks", "hold the whole run", "release the whole run")


class Acting(Frame[None]):
    """The actions; what is in front, and what the run looks like, is the subclass's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "log", "Log", id="act.log"),
        Binding("v", "set", "Set", show=False, id="act.set"),
        Binding("c", "cancel_tasks", "Cancel", id="act.cancel"),
        Binding("r", "retry_tasks", "Retry", id="act.retry"),
        Binding("h", "hold", "Hold or release", show=False, id="act.hold"),
        Binding("t", "throttle", "Throttle arrays", show=False, id="act.throttle"),
        Binding("e", "export", "Export as CSV", show=False, id="act.export"),
        Binding("y", "copy", "Copy the task's key", show=False, id="act.copy"),
        Binding("Y", "by_hand", "Shell line that runs the task by hand", show=False, id="act.by_hand"),
    ]
    setting: Setting
    _is_offering = False
    """Whether the palette, itself before the views, asks for what can be done in them."""

    @property
    @abstractmethod
    def front(self) -> View:
        """The view in front."""

    @property
    @abstractmethod
    def shot(self) -> Snapshot | None:
        """The newest snapshot."""

    @property
    def is_below(self) -> bool:
        """Whether a dialog is before the views; not the palette while it asks what it can offer."""
        return len(self.screen_stack) > 1 and not self._is_offering

    @abstractmethod
    def look_soon(self) -> None:
        """Show soon what an action changed."""

    def may_act(self, action: str) -> bool | None:
        """Whether an action is offered: nothing that changes a run with `--read-only`, or where nobody can act."""
        if action == "turn":  # in a question, tab goes from field to field
            return not self.is_below
        if action in {"log", "set"}:
            return self.front.id != action
        if action in _CHANGING or action == "by_hand":
            can = self.setting.doer is not None
            return can and not (self.setting.read_only and action in _CHANGING)
        return True

    # -- going somewhere -----------------------------------------------------------------------------------------

    def action_log(self) -> None:
        """The log of the task under the cursor."""
        self._open("log")

    def action_set(self) -> None:
        """The condensed set that the task under the cursor makes or uses."""
        self._open("set")

    def _open(self, view: str) -> None:
        if keys := self.front.pointed:
            self.front.post_message(View.Opened(view, keys[0]))
        else:
            self.tell("no task is selected here")

    # -- actions that change a run -------------------------------------------------------------------------------

    def action_cancel_tasks(self) -> None:
        """Cancel what is selected, after a question."""
        self._start(self._cancel)

    async def _cancel(self, doer: Doer, shot: Snapshot, keys: Sequence[str]) -> list[str]:
        # On screen before it is whole: what is typed meanwhile comes here, where it does nothing.
        words, aside = action_text.task_words(keys), self._aside()
        ask = Ask([f"Cancel {words}: looking what hangs on it ..."], whole=False)
        answered = self.push_screen(ask, wait_for_dismiss=True)
        try:
            stakes = await beside(lambda: doer.stakes(keys, shot))
        except Exception:
            ask.leave()
            raise
        if answered.done():
            return []
        if not stakes.keys:
            ask.leave()
            return [f"{words}: nothing of it waits or runs in this run"]
        ask.complete([*action_text.cancel_question(stakes), *aside])
        return [] if await answered is None else await beside(lambda: doer.cancel(stakes.keys))

    def action_retry_tasks(self) -> None:
        """Send what is selected again, perhaps with more."""
        self._start(self._retry)

    async def _retry(self, doer: Doer, shot: Snapshot, keys: Sequence[str]) -> list[str]:
        wanted = set(keys)
        rows: list[Row] = action_text.retryable(row for row in shot.rows if row.key in wanted)
        if not rows:
            return [f"{action_text.task_words(keys)}: recorded or on its way, there is nothing to try again"]
        groups = shot.outlook.failures
        known = [group.gpu_h_lost for group in groups if wanted >= set(group.keys) and group.gpu_h_lost is not None]
        causes = [_cause(group) for group in groups if not wanted.isdisjoint(group.keys)]
        question = [*action_text.retry_question(rows, sum(known) if known else None, causes), *self._aside()]
        fields = [Field("minutes", whole_number(1), "as before"), Field("memory in GB", positive, "as before")]
        answers = await self._asked(Ask(question, fields))
        if answers is None:
            return []
        time_min, mem_gb = answers
        self.tell(f"sending {counted(len(rows), 'task')} again ...")
        return await beside(lambda: doer.retry([row.key for row in rows], time_min=time_min, mem_gb=mem_gb))

    def action_hold(self) -> None:
        """Hold or release, of what is selected or of all."""
        self._start(self._hold)

    async def _hold(self, doer: Doer, shot: Snapshot, keys: Sequence[str]) -> list[str]:
        del shot
        place = await self._asked(Menu("\n".join([f"{action_text.task_words(keys)}, or run", *self._aside()]), _HOLDS))
        if place is None:
            return []
        do, of = (doer.hold, doer.release)[place % 2], list(keys) if place < 2 else None
        return await beside(lambda: do(of))

    def action_throttle(self) -> None:
        """How many elements of each array may run at a time."""
        self._start(self._throttle, needs_tasks=False)

    async def _throttle(self, doer: Doer, shot: Snapshot, keys: Sequence[str]) -> list[str]:
        del shot, keys
        question = ["How many elements of each array may run at a time?"]
        fields = [
            Field("elements", whole_number(0), "a number; 0: no bound"),
            Field("stage", _stage, "empty: all stages"),
        ]
        answers = await self._asked(Ask(question, fields))
        if answers is None or answers[0] is None:
            return []
        running, stage = answers
        return await beside(lambda: doer.throttle(running, stage))

    # -- actions that change nothing -----------------------------------------------------------------------------

    def action_copy(self) -> None:
        """The keys of what is selected, into the clipboard of the terminal (OSC 52)."""
        if keys := self.front.selected:
            self.copy_to_clipboard("\n".join(keys))
            self.tell(f"copied the key of {action_text.task_words(keys)}")
        else:
            self.tell("no task is selected here")

    def action_by_hand(self) -> None:
        """The shell line that runs the task under the cursor by hand: shown, and copied."""
        self._start(self._by_hand, of=self.front.pointed)

    async def _by_hand(self, doer: Doer, shot: Snapshot, keys: Sequence[str]) -> list[str]:
        del shot
        line = await beside(lambda: doer.by_hand(keys[0]))
        self.copy_to_clipboard(line.encode(errors="replace").decode())
        return [line, "copied"]

    def action_export(self) -> None:
        """The table in front as a CSV file under `results/<run>`."""
        begin(self, partial(self._guarded, self._export), "acting")

    async def _export(self) -> list[str]:
        view, shot = self.front, self.shot
        sheet = view.sheet()
        if sheet is None or shot is None:
            return ["there is no table here"]
        path = Path("results") / shot.run / f"watch-{view.id}.csv"
        header, rows = sheet
        await beside(lambda: tables.write_csv(path, header, rows))
        return [f"{path}: {counted(len(rows), 'line')}"]

    # -- what they share -----------------------------------------------------------------------------------------

    def _start(
        self,
        deed: Callable[[Doer, Snapshot, Sequence[str]], Coroutine[Any, Any, list[str]]],
        *,
        needs_tasks: bool = True,
        of: list[str] | None = None,
    ) -> None:
        """Begin it, about these tasks; None: about what is selected."""
        doer, shot, keys = self.setting.doer, self.shot, self.front.selected if of is None else of
        if doer is None or shot is None:
            self.tell("nothing can be done here")
        elif needs_tasks and not keys:
            self.tell("no task is selected here")
        elif any(worker.group == "acting" and not worker.is_finished for worker in self.workers):
            self.tell("another action is not done yet")
        else:
            begin(self, partial(self._guarded, partial(deed, doer, shot, keys)), "acting")

    async def _guarded(self, deed: Callable[[], Coroutine[Any, Any, list[str]]]) -> None:
        """What was done is said; what a user can mend, too. A bug keeps its traceback."""
        try:
            said = await deed()
        except (CondhpcError, OSError) as error:
            self.tell(str(error), wrong=True)
            return
        if said:
            self.tell("\n".join(said))
            self.look_soon()

    def _aside(self) -> list[str]:
        """What is marked in front and not acted on, since a filter hides it."""
        grid = self.front.grid
        return [] if grid is None or not (text := grid.marks.hidden_text()) else [text]

    async def _asked(self, screen: Ask | Menu) -> Any:
        return await self.push_screen_wait(screen)

    def tell(self, text: str, *, wrong: bool = False) -> None:
        """Words that go away by themselves."""
        clean = "\n".join(tables.printable(line) for line in text.split("\n"))
        self.notify(clean, severity="error" if wrong else "information", timeout=_LONG_S, markup=False)


def _stage(text: str) -> Stage:
    found = next((stage for stage in STAGES if stage == text), None)
    if found is None:
        raise ValueError(f"one of {', '.join(STAGES)}")
    return found


def _cause(group: FailureGroup) -> str:
    """What its tasks failed of, on one line: `lost NODE_FAIL infra: left no word`."""
    words = (group.state, group.slurm_state, group.cause)
    return tables.printable(f"{' '.join(word for word in words if word)}: {group.signature}")
