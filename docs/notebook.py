"""Makes notebooks/guide.ipynb from docs/guide.md, and runs it.

python docs/notebook.py
"""

import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
GUIDE, NOTEBOOK = ROOT / "docs/guide.md", ROOT / "notebooks/guide.ipynb"
SECONDS = 1800  # that a cell may take


def build(text: str) -> Any:
    """Turn the guide into a notebook: its commands become cells, and the text between them too."""
    parts = re.split(r"^```sh\n(.*?)^```\n", text, flags=re.DOTALL | re.MULTILINE)
    cells = [nbformat.v4.new_code_cell("%cd -q ..", id="folder")]
    for number, part in enumerate(parts):
        if number % 2:
            cells.append(nbformat.v4.new_code_cell(f"%%bash -e\n{part.rstrip()}", id=f"command{number}"))
        elif part.strip():
            cells.append(nbformat.v4.new_markdown_cell(_from_notebooks(part.strip()), id=f"text{number}"))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def _from_notebooks(text: str) -> str:
    """Links of a page in docs/ as links of a notebook in notebooks/."""
    return re.sub(r"\]\((?!https?:|\.\./)", "](../docs/", text)


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in a folder beside docs/.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        for output in cell.get("outputs", ()):
            output["text"] = output.get("text", "").replace(f"{folder.parent}/", "")


def main() -> None:
    """Write the notebook with the output of every command."""
    NOTEBOOK.parent.mkdir(exist_ok=True)
    notebook = build(GUIDE.read_text(encoding="utf-8"))
    execute(notebook, NOTEBOOK.parent)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
