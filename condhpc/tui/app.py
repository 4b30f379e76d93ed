"""`condhpc watch`: views of a run that keep themselves up to date. Nothing is computed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.events import Event, InputEvent
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Input

from condhpc.errors import CondhpcError
from condhpc.findings import Snapshot
from condhpc.tui.acting import Acting
from condhpc.tui.foot import Foot
from condhpc.tui.frame import LEAVING
from condhpc.tui.head import Names, head_text
from condhpc.tui.help import Help, Keys, Menu, keys_of
from condhpc.tui.line import Line
from condhpc.tui.matching import COSTLY, is_costly
from condhpc.tui.poller import Poller, Source, Trouble
from condhpc.tui.view import Setting, Update, View
from condhpc.tui.views import VIEWS

REFRESH_EVERY_S = 5.0
"""Refreshing by hand more often asks nobody: squeue is shared with all users."""
_AGE_EVERY_S = 10.0


class Watch(Acting):
    """A head, the views' names, the view in front, keys."""

    TITLE = "condhpc watch"
    CSS = """
    #head { height: auto; max-height: 3; }
    #views { height: 1fr; }
    #filter { display: none; height: 1; border: none; padding: 0; }
    .-short Footer, .-short #row { display: none; }
    .-short #head, .-short #log-title { max-height: 2; }
    """
    VERTICAL_BREAKPOINTS = [(0, "-short"), (16, "-tall")]  # noqa: RUF012 - Textual's declaration
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(i + 1), f"front({i})", view.TITLE, show=False, priority=True, id=f"app.view_{view.TITLE.lower()}")
          for i, view in enumerate(VIEWS)),
        # Priority: Textual's screens have tab for what is to be focused. No key that one may type has it.
        Binding("tab", "turn(1)", "Next view", show=False, priority=True, id="app.next_view"),
        Binding("shift+tab", "turn(-1)", "View before", show=False, priority=True, id="app.previous_view"),
        # Priority, as views have: what is typed fast after it is text, and must not reach the table as keys that act.
        Binding("slash", "filter", "Filter", key_display="/", priority=True, id="app.filter"),
        Binding("escape", "unfilter", "All", show=False, priority=True, id="app.unfilter"),
        Binding("enter", "entered", show=False, priority=True),  # so that what is typed fast after it is no text
        Binding("F", "failures", "Failures only", id="app.failures"),
        Binding("s", "sort", "Sort", id="app.sort"),
        Binding("S", "reverse", "Other way round", show=False, id="app.reverse"),
        Binding("R", "look", "Refresh", id="app.refresh"),
        Binding("question_mark", "help", "Help", key_display="?", id="app.help"),
        *LEAVING,
    ]  # fmt: skip

    def __init__(
        self, source: Source, poll_s: float, setting: Setting, driver_class: type[Driver] | None = None
    ) -> None:
        super().__init__(setting.theme, setting.keys, driver_class)
        self.setting = setting
        self._poller = Poller(source, self.post_message, poll_s)
        self._looked = float("-inf")
        self._shot: Snapshot | None = None
        self._trouble = ""
        # Held, not queried: a last message may come when the screen is being taken down.
        self._head = Line("looking …", id="head")
        self._names = Names([view.TITLE for view in VIEWS])
        self._views = [view(self.setting) for view in VIEWS]
        self._pending: list[Update | None] = [None] * len(VIEWS)
        """What each view was not shown yet."""
        self._front = 0
        self._needle = Input(placeholder="text or regular expression; ! inverts", id="filter")

    def compose(self) -> ComposeResult:
        """Top to bottom."""
        yield self._head
        yield self._names
        with ContentSwitcher(id="views", initial=self._views[0].id):
            yield from self._views
        yield self._needle
        yield Foot()

    def on_mount(self) -> None:
        """Begin to look."""
        self.action_front(0)
        self._poller.start()
        self.set_interval(_AGE_EVERY_S, self._show_head)

    def on_unmount(self) -> None:
        """Stop looking."""
        self._poller.end()

    async def on_event(self, event: Event) -> None:
        """A key or the mouse: somebody is there."""
        if isinstance(event, InputEvent):
            self._poller.stir()
        await super().on_event(event)

    # -- what is new ---------------------------------------------------------------------------------------------

    @on(Update)
    def take(self, message: Update) -> None:
        """A new snapshot into the head and the view in front; the others get it when their turn comes."""
        self._shot, self._trouble = message.snapshot, ""
        self._pending = [message.after(missed) for missed in self._pending]
        self._show_front()
        self._show_head()

    @on(Trouble)
    def explain(self, message: Trouble) -> None:
        """An error that passes is shown; a bug keeps its traceback."""
        if not isinstance(message.error, CondhpcError | OSError):
            raise message.error
        self._trouble = str(message.error)
        self._show_head()

    def _show_front(self) -> None:
        update, self._pending[self._front] = self._pending[self._front], None
        if update is not None:
            self.front.show(update)

    def _show_head(self) -> None:
        self._head.say(head_text(self._shot, self._trouble, self.setting.clock(), asleep=self._poller.is_asleep))

    @property
    def shot(self) -> Snapshot | None:
        """The newest snapshot."""
        return self._shot

    def look_soon(self) -> None:
        """An action changed something: look at once."""
        self._poller.look_now()

    # -- views ---------------------------------------------------------------------------------------------------

    @property
    def front(self) -> View:
        """The view in front."""
        return self._views[self._front]

    @on(Names.Clicked)
    def go(self, message: Names.Clicked) -> None:
        """To the view whose name was clicked."""
        self.action_front(message.index)

    @on(View.Opened)
    def open(self, message: View.Opened) -> None:
        """Another view, about a task."""
        found = [index for index, view in enumerate(self._views) if view.id == message.view]
        if found:
            self.action_front(found[0])
            self.front.about(message.key)

    def action_front(self, index: int) -> None:
        """Bring a view to the front."""
        self._front = index
        self.query_one(ContentSwitcher).current = self.front.id
        self._show_front()
        self._show_filter()
        self._focus_front()

    def action_turn(self, by: int) -> None:
        """The next view, or the one before."""
        self.action_front((self._front + by) % len(self._views))

    def _focus_front(self) -> None:
        target = self.front.grid or next((child for child in self.front.query("*") if child.can_focus), None)
        if target is not None:
            target.screen.set_focus(target)  # at once: put off, it would come after that of a `/` typed since

    # -- filters and order ---------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that this view has no use for are not offered."""
        if not self.may_act(action):
            return False
        del parameters
        is_below = self.is_below
        is_typing = isinstance(self.screen_stack[0].focused if self._is_offering else self.focused, Input)
        if action in {"filter", "front"} and (is_below or is_typing):
            return False
        if action == "entered":
            return self.focused is self._needle
        if action == "unfilter":
            return not is_below and self.front.grid is not None
        if action in {"filter", "sort", "reverse"}:
            return self.front.grid is not None
        return self.front.keep is not None if action == "failures" else True

    def action_filter(self) -> None:
        """Ask for what to filter by."""
        self._needle.display = True
        self.screen.set_focus(self._needle)  # at once: the next key is text

    def action_entered(self) -> None:
        """Back to the table: what was typed stays."""
        self._focus_front()
        self._needle.call_later(self._needle.action_submit)  # after the keys that are on their way to it

    def action_unfilter(self) -> None:
        """All rows again."""
        self._focus_front()
        self._needle.call_later(self._all_rows)

    def _all_rows(self) -> None:
        if (grid := self.front.grid) is not None:
            grid.where("")
        self._show_filter()

    def action_failures(self) -> None:
        """Toggle between all rows and those that something went wrong for."""
        if (grid := self.front.grid) is not None:
            grid.where(grid.needle, None if grid.is_kept else self.front.keep)
        self._show_filter()

    @on(Input.Changed, "#filter")
    def filter_as_typed(self, message: Input.Changed) -> None:
        """Filter at each key."""
        grid = self.front.grid
        if grid is not None and message.value != grid.needle:
            was, needle = grid.needle, message.value
            grid.where(needle, self.front.keep if grid.is_kept else None)
            if is_costly(needle) and not is_costly(was):
                self.notify(COSTLY, markup=False)

    @on(Input.Submitted, "#filter")
    def _show_filter(self) -> None:
        """The line to type in stays as long as it hides something."""
        grid = self.front.grid
        needle = "" if grid is None else grid.needle
        self._needle.value = needle
        self._needle.display = bool(needle)
        self._names.mark(self._front, "failures only" if grid is not None and grid.is_kept else "")
        self.refresh_bindings()

    def action_sort(self) -> None:
        """Ask by which column."""
        grid = self.front.grid
        if grid is None:
            return
        titles = [column.title for column in grid.table.shape.columns]

        def answered(index: int | None) -> None:
            if index is not None:
                grid.sort(titles[index - 1] if index else None)

        self.push_screen(Menu("sort by", ["as planned", *titles]), answered)

    def action_reverse(self) -> None:
        """Sort the other way round."""
        grid = self.front.grid
        if grid is not None and grid.table.by is not None:
            grid.sort(grid.table.by.title, descending=not grid.table.descending)

    # -- help ----------------------------------------------------------------------------------------------------

    def keys_here(self) -> list[Keys]:
        """Keys that work now, by where they work, nearest first."""
        return keys_of(self)

    def action_help(self) -> None:
        """All keys."""
        self.push_screen(Help(self.keys_here()))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: whatever has a key here, and themes."""
        yield SystemCommand("Theme", "Other colours", self.action_change_theme)
        self._is_offering = True
        try:
            bindings = screen.active_bindings
        finally:
            self._is_offering = False
        once = {(active.binding.id, active.node): active for active in reversed(bindings.values())}
        for active in once.values():
            binding = active.binding
            if binding.description and binding.id and active.enabled:
                yield SystemCommand(
                    binding.description, self.get_key_display(binding), self._doing(binding, active.node)
                )

    def _doing(self, binding: Binding, node: Any) -> Callable[[], Any]:
        return lambda: self.run_action(binding.action, default_namespace=node)

    def action_look(self) -> None:
        """Refresh, at most every few seconds."""
        now = time.monotonic()
        if now - self._looked < REFRESH_EVERY_S:
            self.notify(f"at most every {REFRESH_EVERY_S:g} s: Slurm is shared", markup=False)
            return
        self._looked = now
        self._poller.look_now()
