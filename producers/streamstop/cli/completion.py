"""Shell completion: what may stand where the cursor is. It never fails and never keeps a shell waiting."""

import threading
from datetime import timedelta
from typing import ClassVar

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

from streamstop.cli.showing import about
from streamstop.client import Client
from streamstop.errors import StreamstopError
from streamstop.operations import OPERATIONS, Kind

COMPLETE_VARIABLE = "_STREAMSTOP_COMPLETE"
#: How long a shell waits for the names of the accounts.
PATIENCE = timedelta(seconds=0.5)

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete $1)
    for completion in $response; do
        IFS=',' read type value <<< "$completion"
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            plain) COMPREPLY+=("$value"); [[ $value == *= ]] && compopt -o nospace ;;
        esac
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class _BashComplete(BashComplete):
    """Click's, but for the space behind ``Key=``, where the value is to come."""

    source_template: ClassVar[str] = _BASH


def complete_operation(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the operations of the kind that the command is for; a room holds stops."""
    kind = ctx.info_name if ctx.info_name in set(Kind) else Kind.STOP
    return [
        CompletionItem(name, help=about(declaration))
        for name, declaration in OPERATIONS.items()
        if name.startswith(incomplete) and declaration.spec.kind == kind
    ]


def complete_parameter(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the operation's parameters that are not given yet, each as ``Key=``; a Region's known values."""
    declaration = OPERATIONS.get(ctx.params.get("operation") or "")
    if declaration is None:
        return []
    properties = declaration.model_json_schema()["properties"]
    given = list(ctx.params.get(param.name or "") or ())
    key, joined, value = incomplete.partition("=")
    # bash takes Key=Value apart at the =, so that the key stands before the cursor as a word of its own.
    parted = given and (given[-1] in properties or given[-1] == "=")
    if joined or parted:
        if not joined:
            key, value = next((word for word in reversed(given) if word != "="), ""), incomplete
        prefix = f"{key}=" if joined else ""
        known = properties.get(key, {}).get("enum", ())
        return [CompletionItem(prefix + known_value) for known_value in known if known_value.startswith(value)]
    taken = {word.partition("=")[0] for word in given}
    return [CompletionItem(f"{name}=") for name in properties if name not in taken and name.startswith(incomplete)]


def complete_account(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the accounts that running workers have, at the operation's vendor; none where Redis is slow."""
    # Where an option still has no value, click leaves the words behind it unread.
    declaration = next((OPERATIONS[word] for word in ctx.args if word in OPERATIONS), None)
    vendor = None if declaration is None else declaration.spec.product.vendor.name
    return [
        CompletionItem(name, help=at)
        for name, at in sorted(_known_accounts(ctx.params.get("redis")).items())
        if name.startswith(incomplete) and vendor in {None, at}
    ]


def script(group: click.Command, shell: str) -> str:
    """Return the text that a shell evaluates to complete ``streamstop``."""
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"there is no completion for {shell!r}")
    return completion(group, {}, "streamstop", COMPLETE_VARIABLE).source()


def _known_accounts(url: str | None) -> dict[str, str]:
    found: dict[str, str] = {}

    def look() -> None:
        try:
            with Client(url, timeout=PATIENCE) as client:
                found.update(client.accounts())
        except StreamstopError:
            return

    # A name server or a Redis that does not answer may take longer than any timeout of theirs.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PATIENCE.total_seconds())
    return dict(found)
