"""The picture of a terminal shows what a terminal would."""

from xml.etree import ElementTree

from tests.support.terminal_svg import Screen


def texts(output: str) -> list[tuple[str | None, str | None]]:
    screen = Screen()
    screen.write(output)
    root = ElementTree.fromstring(screen.svg("demo"))
    return [(text.get("class"), text.text) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_line_that_is_drawn_again_shows_its_last_state() -> None:
    assert texts("one\r\ntwo\r\n\x1b[2A\r\x1b[2Kthree\n") == [(None, "three"), (None, "two")]


def test_colours_become_classes() -> None:
    assert texts("\x1b[1mbold\x1b[0m \x1b[32mgreen\x1b[0m\n") == [("bold", "bold"), ("green", "green")]


def test_words_far_apart_keep_their_columns() -> None:
    assert texts("left <&>      right\n") == [(None, "left <&>"), (None, "right")]


def test_empty_rows_at_the_end_are_left_out() -> None:
    screen = Screen()
    screen.write("one\n\n\n")
    assert 'height="50"' in screen.svg("demo")
