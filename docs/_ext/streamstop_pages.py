"""What the site takes from the code: the command line's help, the operations, and names where users import them.

The directives ``command-line``, ``operations`` and ``http-api`` write pages that cannot go stale.
"""

import importlib
import inspect
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from streamstop import AsyncClient
from streamstop.operations import OPERATIONS, Operation
from streamstop_server.app import create
from streamstop_server.settings import ServerSettings

#: The modules that users import from. A class is documented under the first that has it.
PUBLIC = ("streamstop", "streamstop.operations", "streamstop.testing", "streamstop.callbacks")
_HELP_WIDTH = 100


class CommandLine(SphinxDirective):
    """Writes the help of a click command and of all its subcommands, a section each."""

    required_arguments = 2  # the program's name, and module:command

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        program, where = self.arguments
        module, _, name = where.partition(":")
        return _sections(getattr(importlib.import_module(module), name), program, None)


def _sections(command: click.Command, path: str, parent: click.Context | None) -> list[nodes.Node]:
    name = path if parent is None else path.rpartition(" ")[2]
    context = click.Context(
        command, parent, name, terminal_width=_HELP_WIDTH, max_content_width=_HELP_WIDTH, **command.context_settings
    )
    title = nodes.title(text=path)
    text = command.get_help(context)
    section = nodes.section("", title, nodes.literal_block(text, text, language="text"), ids=[path.replace(" ", "-")])
    found: list[nodes.Node] = [section]
    if isinstance(command, click.Group):
        for sub in map(partial(command.get_command, context), command.list_commands(context)):
            if sub is not None:
                found += _sections(sub, f"{path} {sub.name}", context)
    return found


class Operations(SphinxDirective):
    """Writes a table of a vendor's operations, and what each class says of itself."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table, and the classes."""
        (vendor,) = self.arguments
        rows = [cls for cls in OPERATIONS.values() if cls.spec.product.vendor.name == vendor]
        lines = [
            "| id, class | kind | calls/s | parameters | status twin |",
            "|---|---|---|---|---|",
            *map(_row, rows),
            "",
            "```{eval-rst}",
            *(
                line
                for cls in rows
                for line in (f".. autoclass:: streamstop.operations.{cls.__name__}()", "   :no-members:", "")
            ),
            "```",
        ]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source="operations"), 0, container)
        return list(container.children)


class HttpApi(SphinxDirective):
    """Writes a table of the routes of the HTTP service, and what each says of itself."""

    def run(self) -> list[nodes.Node]:
        """Return a table for each tag, and the routes' descriptions."""
        settings = ServerSettings("127.0.0.1", None, "s" * 40)
        paths: dict[str, dict[str, Any]] = create(settings, client=AsyncClient).openapi()["paths"]
        routes = [(path, method, route) for path, methods in paths.items() for method, route in methods.items()]
        lines: list[str] = []
        for tag in dict.fromkeys(tag for _, _, route in routes for tag in route["tags"]):
            lines += ["", f"## {tag.capitalize()}", "", "| route | scope | |", "|---|---|---|"]
            lines += [_route_row(path, method, route) for path, method, route in routes if tag in route["tags"]]
        container = nodes.section()
        self.state.nested_parse(StringList(lines, source="http-api"), 0, container, match_titles=True)
        return list(container.children)


def _route_row(path: str, method: str, route: dict[str, Any]) -> str:
    scopes = [scope for scheme in route.get("security", ()) for scopes in scheme.values() for scope in scopes]
    about = " ".join(route.get("description", "").split()).replace("|", "\\|")
    query = [f"`{one['name']}`" for one in route.get("parameters", ()) if one["in"] == "query"]
    also = f" Query: {', '.join(query)}." if query else ""
    return f"| `{method.upper()} {path}` | {', '.join(scopes) or 'none'} | {about}{also} |"


def _row(cls: type[Operation]) -> str:
    spec = cls.spec
    parameters = ", ".join(
        f"`{field.alias}`" + ("" if field.is_required() else "?") for field in cls.model_fields.values()
    )
    twin = f"`{spec.status_twin}`" if spec.status_twin else ("" if spec.kind.value == "status" else "none")
    return (
        f"| [`{spec.id}`]({spec.source}) [`{cls.__name__}`](#streamstop.operations.{cls.__name__}) | {spec.kind.value} "
        f"| {spec.limit:.4g} | {parameters} | {twin} |"
    )


@cache
def _public_names() -> dict[Any, str]:
    """Return the public classes and functions to the names under which the site documents them."""
    names: dict[Any, str] = {}
    for module_name in PUBLIC:
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                names.setdefault(thing, f"{module_name}.{name}")
    return names


def _things(target: str) -> Iterator[tuple[Any, list[str]]]:
    """Yield what the parts of a dotted name lead to, each with the parts that are left."""
    parts = target.split(".")
    for end in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for index in range(end, len(parts)):
            thing = getattr(thing, parts[index], None)
            if thing is None:
                return
            yield thing, parts[index + 1 :]
        return


def _by_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Node | None:
    """Lead a reference by a name's home module (``streamstop.errors.InvalidCommand``) to where it is documented."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    candidates = (
        [target] if target.startswith("streamstop") else [f"{m}.{target}" for m in (node.get("py:module"),) if m]
    )
    for candidate in candidates:
        for thing, rest in _things(candidate):
            try:
                name = _public_names().get(thing)
            except TypeError:  # not hashable
                continue
            if name is not None:
                full = ".".join([name, *rest])
                return env.domains.python_domain.resolve_xref(
                    env, node["refdoc"], app.builder, node["reftype"], full, node, contnode
                )
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of it."""
    app.add_directive("command-line", CommandLine)
    app.add_directive("operations", Operations)
    app.add_directive("http-api", HttpApi)
    app.connect("missing-reference", _by_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
