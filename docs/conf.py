"""How Sphinx builds the documentation: Markdown pages, and the reference from docstrings.

python -m sphinx -W --keep-going -b html docs docs/_build/html
"""

import importlib.metadata
from typing import Any

from sphinx.application import Sphinx

project = "metahp"
author = "metahp contributors"
copyright = "2026, metahp contributors"
version = release = importlib.metadata.version("metahp")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["deflist"]
# Links within a page, `#like-this`, work for these levels of headings.
myst_heading_anchors = 3

# Docstrings set names in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# As the source has them: a default such as a function has no other form that can be read.
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
# Attributes of a class are one list, not one entry each beside the properties of the same names.
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = "metahp"
html_static_path = ["_static"]
html_show_sourcelink = False
# These two have no pages below them.
html_sidebars = {"index": [], "api": []}
html_theme_options = {
    "show_prev_next": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def add_style_of_figures(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Keep figures on one line where a table holds figures; tables of words wrap."""
    if page == "index" or (page.startswith("benchmarks/") and page != "benchmarks/index"):
        app.add_css_file("figures.css")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("html-page-context", add_style_of_figures)
