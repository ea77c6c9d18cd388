"""Sphinx's settings for the documentation site, which `make docs` builds.

The sources are the Markdown pages and the notebooks where they stand, so that their links work on
a code host too. `site_pages.py` adds what is made: the order of pages, the API, the gallery.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "lantern_probe"
author = "The lantern_probe contributors"
copyright = author
version = release = version_of("lantern-probe")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "site_pages"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/api/*.rst",
    "notebooks/*.ipynb",
    "tests/conformance/*/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]

myst_heading_anchors = 4  # the depth to which pages link

# Notebooks are run once and kept until their text changes. One that raises or takes longer stops
# the build, which names it.
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

default_role = "code"  # docstrings write `names` as Markdown does
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "lantern_probe"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
