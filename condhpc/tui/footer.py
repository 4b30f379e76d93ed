"""The line of keys at the bottom."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer
from textual.widgets._footer import FooterKey


class KeyLine(Footer):
    """Textual's footer, made anew only when the keys that it names have changed.

    Textual makes it anew whenever the focus moves, and styles each key three times: half of what the screen costs.
    """

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._named: list[tuple[Binding, bool, str]] = []
        """What is on screen: for each action its first key, whether it works now, and its tooltip."""

    def compose(self) -> ComposeResult:
        """One key per action."""
        for binding, enabled, tooltip in self._named:
            key = FooterKey(
                binding.key,
                self.app.get_key_display(binding),
                binding.description,
                binding.action,
                disabled=not enabled,
                tooltip=tooltip,
            )
            key.set_reactive(FooterKey.compact, False)  # noqa: FBT003 - Textual's signature
            yield key

    async def recompose(self) -> None:
        """Only if there is something new to name."""
        firsts: dict[str, tuple[Binding, bool, str]] = {}
        for _, binding, enabled, tooltip in self.screen.active_bindings.values():
            if binding.show:
                firsts.setdefault(binding.action, (binding, enabled, tooltip))
        if (now := list(firsts.values())) != self._named:
            self._named = now
            await super().recompose()
