"""``streamstop token new``: makes a token for the HTTP service."""

import json

import click

from streamstop._core.commands import check_account
from streamstop.cli._shared.help_pages import Page, PageGroup
from streamstop.cli._shared.options import json_option
from streamstop.errors import InvalidCommand
from streamstop.tokens import NAME, SCOPES, new_token, token_hash


@click.group(
    cls=PageGroup,
    short_help="Make tokens for the HTTP service.",
    blocks={"Examples": ["streamstop token new billing --scope enqueue --scope read >> tokens.toml"]},
)
def token() -> None:
    """Make tokens for the HTTP service, streamstop-server."""


@token.command(
    cls=Page,
    short_help="Make a token, and the lines for the tokens file.",
    blocks={
        "Examples": [
            "streamstop token new billing --scope enqueue --scope read >> tokens.toml",
            "streamstop token new night --scope read --scope operate --account live-cn",
        ],
        "Exit codes": ["0    made", "2    bad input"],
    },
)
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="May be repeated.")
@click.option("--account", "accounts", multiple=True, help="Covers this account alone. May be repeated.")
@json_option
def new(name: str, scopes: tuple[str, ...], accounts: tuple[str, ...], *, as_json: bool) -> None:
    """Make a token, and print the table for the tokens file on standard output.

    The table has the token's hash alone. The token itself goes to standard error, and nowhere else: hand it to its user
    now. NAME is who the events and the log name when the token is used.

    The scopes are enqueue (enqueue and cancel jobs, register and stop rooms), read (look at everything) and operate
    (pause, limit, drain, requeue, drop).
    """
    if not NAME.fullmatch(name):
        raise InvalidCommand(
            f"name {name!r} must be 1 to 63 of a-z, 0-9, _, . and -, starting with a letter or digit", field="name"
        )
    for account in accounts:
        check_account(account)
    made = new_token()
    facts = {"name": name, "hash": token_hash(made), "scopes": list(dict.fromkeys(scopes))}
    if accounts:
        facts["accounts"] = list(dict.fromkeys(accounts))
    if as_json:
        click.echo(json.dumps(facts | {"token": made}))
        return
    click.echo(f'\n[tokens.{json.dumps(name) if "." in name else name}]\nhash = "{facts["hash"]}"')
    click.echo(f"scopes = {json.dumps(facts['scopes'])}")
    if accounts:
        click.echo(f"accounts = {json.dumps(facts['accounts'])}")
    click.echo(f"The token of {name}, which is shown only now:\n{made}", err=True)
