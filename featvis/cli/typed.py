"""A command that says what is wrong with its options: two values for one, and other tools' names."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from featvis.errors import RecipeError, said_here


class Command(TyperCommand):
    """A command that refuses two values for one option, of which Click would take the last silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the command's name.

        Raises:
            RecipeError: two different values for an option that does not repeat.
        """
        if not ctx.resilient_parsing:  # as completion does, which looks at what is half typed
            self._check_once(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Typer carries Click or its own copy of it, so its errors are known by their names.
            if type(error).__name__ == "NoSuchOption" and (meant := self._meant(str(error.option_name))):  # type: ignore[attr-defined]
                error.message, error.possibilities = (  # type: ignore[attr-defined]
                    f"{error.message}; did you mean {meant}?",  # type: ignore[attr-defined]
                    None,
                )
            raise

    def _meant(self, typed: str) -> str:
        """Return the option that other tools call so, or how ``--set`` says it; empty for neither."""
        word = typed.lstrip("-").replace("-", "_")
        options = {name[2:].replace("-", "_"): name for one in self.params for name in one.opts}
        found = [options[name] for name in said_here(word, options)]
        if not found and "set" in options:
            from featvis.spec.recipe import Recipe

            fields = [word] if word in Recipe.model_fields else said_here(word, Recipe.model_fields)
            found = [f"--set {name}=…" for name in fields]
        return " or ".join(found)

    def _check_once(self, words: list[str]) -> None:
        options: dict[str, Any] = {name: one for one in self.params for name in one.opts if name[:1] == "-"}
        given: dict[str, str] = {}
        left = iter(words)
        for word in left:
            if word == "--":
                break
            name, equals, value = word.partition("=")
            if not word.startswith("--"):
                name, value, equals = word[:2], word[2:], word[2:]
            option = options.get(name)
            if option is None or option.is_flag or option.count:
                continue
            value = value if equals else next(left, "")
            before = given.setdefault(option.name, value)
            if before != value and not option.multiple:
                raise RecipeError(f"{option.opts[0]} takes one value, got two: {before} and {value}")
