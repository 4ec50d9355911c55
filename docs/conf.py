"""The documentation as a site. ``make docs`` builds it into ``build/docs``; nothing in it is loaded from elsewhere."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "streamstop"
copyright = "the streamstop authors"  # noqa: A001  # Sphinx reads this name
release = metadata.version("streamstop")

extensions = ["myst_parser", "sphinx.ext.autodoc", "streamstop_pages"]
exclude_patterns = ["_ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"streamstop {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_sphinx = False
# Commands over several lines are no error: the lexer of shell sessions takes the second line for output.
suppress_warnings = ["misc.highlighting_failure"]
pygments_style = "sphinx"
pygments_dark_style = "monokai"

# Docstrings put code into single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "model_config"}
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# Every reference to a name of ours must lead somewhere. Names of other projects would need their inventories from the
# network, so they stay plain text.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!streamstop).*")]
