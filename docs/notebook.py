"""Creates notebooks/guide.ipynb from docs/guide.md and notebooks/python.ipynb from docs/python.md, and runs them.

python docs/notebook.py [guide | python]
"""

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("guide", "python")
SECONDS = 1800  # the longest time that a cell may take


def build(text: str) -> Any:
    """Turn a page into a notebook: its commands, its Python and the text between them become cells."""
    parts = re.split(r"^```(sh|python)\n(.*?)^```\n", text, flags=re.DOTALL | re.MULTILINE)
    cells = [nbformat.v4.new_code_cell("%cd -q ..", id="folder")]
    for number, part in enumerate(parts):
        if number % 3 == 2:
            start = "%%bash -e\n" if parts[number - 1] == "sh" else ""
            cells.append(nbformat.v4.new_code_cell(f"{start}{part.rstrip()}", id=f"command{number // 3 * 2 + 1}"))
        elif number % 3 == 0 and part.strip():
            cells.append(nbformat.v4.new_markdown_cell(_from_notebooks(part.strip()), id=f"text{number // 3 * 2}"))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def _from_notebooks(text: str) -> str:
    """Rewrite the links of a page in docs/ for a notebook in notebooks/."""
    return re.sub(r"\]\((?!https?:|\.\./)", "](../docs/", text)


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in a folder beside docs/, and make absolute paths in their output relative to the project.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text" in output:
                output["text"] = output["text"].replace(f"{folder.parent}/", "")


def tidy(notebook: Any) -> None:
    """Remove what changes with every run, and the finished progress bars."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of its run
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.output_type != "display_data"]


def main() -> None:
    """Write the notebooks with the output of every cell."""
    for name in sys.argv[1:] or PAGES:
        path = ROOT / f"notebooks/{name}.ipynb"
        notebook = build((ROOT / f"docs/{name}.md").read_text(encoding="utf-8"))
        execute(notebook, path.parent)
        tidy(notebook)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
