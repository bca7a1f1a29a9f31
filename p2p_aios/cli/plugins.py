"""Command groups of other packages, and groups that load when they are used.

An entry point of the group `aios.commands` is a Typer app, or a callable that returns one. Its name
is the command's: `testnet` adds a group. A name that `aios` has already, such as `worker`, adds the
app's commands to that group, and `worker.join` adds one command to it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final

import typer
from typer.core import TyperCommand, TyperGroup

from p2p_aios.errors import Invalid

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP: Final = "aios.commands"


class PluginGroup(TyperGroup):
    """A group that plugins of its own name extend; its own commands come first."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return own + [name for name in self._plugged() if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        # A dotted entry point is the cheaper one to try: it loads nothing else.
        dotted = find_plugin(f"{self.name}.{cmd_name}")
        if dotted is not None:
            return load_or_explain(dotted)
        return self._whole().get(cmd_name)

    def _plugged(self) -> list[str]:
        prefix = f"{self.name}."
        dotted = [n.removeprefix(prefix) for n in plugin_names() if n.startswith(prefix)]
        return dotted + list(self._whole())

    def _whole(self) -> dict[str, Any]:
        """Commands of the plugin that is named like this group."""
        plugin = find_plugin(str(self.name))
        if plugin is None:
            return {}
        command = load_or_explain(plugin)
        return dict(getattr(command, "commands", {str(command.name): command}))


class RootGroup(TyperGroup):
    """`aios` itself: each group's module is imported when the group is used."""

    built_in: ClassVar[dict[str, tuple[str, str]]] = {}
    """Command name to `module:attribute` and what the list of commands says of it."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self._summaries().format_commands(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        shown = self._summaries()
        return shown.shell_complete(typer.Context(shown, parent=ctx.parent), incomplete)

    def _summaries(self) -> TyperGroup:
        """This group with a stand-in for each of our own: a list of commands loads none of them."""
        commands: dict[str, Any] = {}
        for name in self.list_commands(None):
            own = self.built_in.get(name)
            commands[name] = (
                TyperCommand(name, help=own[1]) if own else self.get_command(None, name)
            )
        return TyperGroup(name=self.name, params=self.params, commands=commands)

    def list_commands(self, _ctx: Any) -> list[str]:
        plugged = [name for name in plugin_names() if "." not in name]
        return [*self.built_in, *(name for name in plugged if name not in self.built_in)]

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.built_in:
            module, _, attribute = self.built_in[cmd_name][0].partition(":")
            return _command(getattr(import_module(module), attribute), cmd_name)
        plugin = find_plugin(cmd_name)
        if plugin is None or "." in cmd_name:
            return None
        return load_or_explain(plugin)


def plugin_names() -> list[str]:
    """Of every installed package."""
    from importlib.metadata import entry_points

    return sorted({plugin.name for plugin in entry_points(group=ENTRY_POINT_GROUP)})


def find_plugin(name: str) -> "EntryPoint | None":
    # Imported here: it reads the metadata of every installed package, which our own groups spare.
    from importlib.metadata import entry_points

    return next(iter(entry_points(group=ENTRY_POINT_GROUP, name=name)), None)


def load_or_explain(plugin: "EntryPoint") -> Any:
    """The plugin's command, or one in its place that says why it does not load.

    So a broken plugin does not take down the help of the group that lists it.
    """
    try:
        return load_plugin(plugin)
    except Invalid as fault:
        return _command(_broken(fault), plugin.name.rpartition(".")[2])


def load_plugin(plugin: "EntryPoint") -> Any:
    """The plugin's command; raises Invalid(`plugin_broken`)."""
    try:
        found = plugin.load()
        app = found if isinstance(found, typer.Typer) else found()
        if not isinstance(app, typer.Typer):
            raise TypeError(f"{plugin.value} gives {type(app).__name__}, no typer.Typer")
        return _command(app, plugin.name.rpartition(".")[2])
    except Exception as error:
        # Boundary: another package's code may fail in any way; the user must learn which.
        owner = plugin.dist.name if plugin.dist else "an unknown package"
        raise Invalid(
            "plugin_broken",
            f"command {plugin.name!r} of {owner} ({plugin.value}) does not load: {error!r}; "
            "reinstall that package",
        ) from error


def _command(app: typer.Typer, name: str) -> Any:
    # Plain help: paragraphs fit the terminal, options stay whole, and nothing heavy is imported.
    app.rich_markup_mode = None
    command = typer.main.get_command(app)
    command.name = name
    return command


def _broken(fault: Invalid) -> typer.Typer:
    """A command that, whatever its arguments, says why the plugin does not load."""
    app = typer.Typer(add_completion=False)

    @app.command(
        help="Broken: does not load.",
        context_settings={
            "allow_extra_args": True,
            "ignore_unknown_options": True,
            "help_option_names": [],
        },
    )
    def explain() -> None:
        raise fault

    return app
