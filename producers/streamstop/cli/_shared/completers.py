"""Completes operations, parameters and accounts in a shell. Completion never fails and never blocks the shell."""

import threading
from datetime import timedelta

import click
from click.shell_completion import CompletionItem

from streamstop.client import Client
from streamstop.errors import StreamstopError
from streamstop.operations import OPERATIONS, Kind
from streamstop.operations.facts import operation_summary

#: How long the shell waits for the names of the accounts.
PATIENCE = timedelta(seconds=0.5)


def complete_operation(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the operations of the command's kind. The commands of rooms take stops."""
    kind = ctx.info_name if ctx.info_name in set(Kind) else Kind.STOP
    return [
        CompletionItem(name, help=operation_summary(declaration))
        for name, declaration in OPERATIONS.items()
        if name.startswith(incomplete) and declaration.spec.kind == kind
    ]


def complete_any_operation(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the operations of either kind."""
    return [
        CompletionItem(name, help=operation_summary(declaration))
        for name, declaration in OPERATIONS.items()
        if name.startswith(incomplete)
    ]


def complete_parameter(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the parameters that are not given yet, each as ``Key=``; after ``Region=``, the known regions."""
    declaration = OPERATIONS.get(ctx.params.get("operation") or "")
    if declaration is None:
        return []
    properties = declaration.model_json_schema()["properties"]
    given = list(ctx.params.get(param.name or "") or ())
    key, joined, value = incomplete.partition("=")
    # bash splits Key=Value at the =: the key is then a word of its own before the cursor.
    split_by_bash = given and (given[-1] in properties or given[-1] == "=")
    if joined or split_by_bash:
        if not joined:
            key, value = next((word for word in reversed(given) if word != "="), ""), incomplete
        prefix = f"{key}=" if joined else ""
        known = properties.get(key, {}).get("enum", ())
        return [CompletionItem(prefix + known_value) for known_value in known if known_value.startswith(value)]
    given_names = {word.partition("=")[0] for word in given}
    return [
        CompletionItem(f"{name}=") for name in properties if name not in given_names and name.startswith(incomplete)
    ]


def complete_account(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the running workers' accounts at the operation's vendor, or none where Redis is slow."""
    # While an option lacks its value, click leaves the words after it in ctx.args.
    declaration = next((OPERATIONS[word] for word in ctx.args if word in OPERATIONS), None)
    vendor = None if declaration is None else declaration.spec.product.vendor.name
    return [
        CompletionItem(name, help=account_vendor)
        for name, account_vendor in sorted(_known_accounts(ctx.params.get("redis")).items())
        if name.startswith(incomplete) and vendor in {None, account_vendor}
    ]


def _known_accounts(url: str | None) -> dict[str, str]:
    found: dict[str, str] = {}

    def look() -> None:
        try:
            with Client(url, timeout=PATIENCE) as client:
                found.update(client.accounts())
        except StreamstopError:
            return

    # The client's timeout does not bound name resolution: wait for the thread only so long.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PATIENCE.total_seconds())
    return dict(found)
