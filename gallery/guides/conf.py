"""How Sphinx builds the guides: `make docs` writes a site into build/docs that opens from disk and fetches nothing."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pictures depend on the number of threads in their last bits

import reference  # noqa: E402

from featvis.version import __version__  # noqa: E402

reference.write(HERE / "generated")

project, author, release = "featvis", "the featvis developers", __version__
project_copyright = "the featvis developers, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_*"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}

nb_execution_mode = "force"
nb_execution_timeout = 1200
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True
nb_output_stderr = "remove"  # libraries' warnings; an error ends the build
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "model_config"}
autodoc_typehints = "none"
autoclass_content = "both"
default_role = "code"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"featvis {__version__}"
html_static_path = ["_static"]
html_css_files = ["guides.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app):
    """Let docstrings write formulas such as |x| and ¼ mean[x]**2 as plain text."""
    app.connect("autodoc-process-docstring", reference.plain, priority=1)
