"""``streamstop completion``: prints the script that connects a shell to the completers."""

from typing import ClassVar

import click
from click.shell_completion import BashComplete, add_completion_class, get_completion_class

from streamstop.cli._shared.help_pages import Page

_COMPLETE_VARIABLE = "_STREAMSTOP_COMPLETE"

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
    """Click's script, changed to add no space after ``Key=``: the value follows."""

    source_template: ClassVar[str] = _BASH


@click.command(
    cls=Page,
    short_help="Print a shell's completion script.",
    blocks={
        "Examples": [
            "streamstop completion bash",
            "streamstop completion fish > ~/.config/fish/completions/streamstop.fish",
        ],
        "In ~/.bashrc": ['eval "$(streamstop completion bash)"'],
        "In ~/.zshrc": ['eval "$(streamstop completion zsh)"'],
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete commands, operations, parameters and accounts."""
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise click.UsageError(f"there is no completion for {shell!r}")
    click.echo(completion_class(ctx.find_root().command, {}, "streamstop", _COMPLETE_VARIABLE).source())
