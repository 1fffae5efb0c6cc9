"""Files with random changes are read, or refused with a message of one line; no other error occurs."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from digits.data import download as files
from digits.errors import UserError
from digits.evaluation import metrics as evaluation
from digits.preparation import opening, photo
from digits.runs.checkpoint import Checkpoint
from digits.runs.run import Run

from ..helpers import digits_like, encoded, idx, paper

pytestmark = pytest.mark.slow  # half a minute

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Spoil = Callable[[bytes], bytes]


@contextmanager
def read_or_refused_in_a_line() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(f"{len(str(error).splitlines())} lines") from error


@st.composite
def spoilt(draw: st.DrawFn) -> Spoil:
    """A function that changes, removes or inserts bytes, or cuts off the rest, at up to four places."""
    places = draw(
        st.lists(
            st.tuples(st.floats(0, 1), st.sampled_from(["change", "cut", "insert", "end"]), st.binary(max_size=9)),
            min_size=1,
            max_size=4,
        )
    )

    def spoil(content: bytes) -> bytes:
        for where, how, new in places:
            start = int(where * len(content))
            old = 0 if how == "insert" else len(new)
            content = content[:start] + (b"" if how in ("cut", "end") else new) + content[start + old :]
            if how == "end":
                content = content[:start]
        return content

    return spoil


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@FEW
@given(spoil=spoilt())
def test_pictures_with_changed_bytes(kind: str, spoil: Spoil) -> None:
    with read_or_refused_in_a_line():
        picture = opening.read(spoil(encoded(paper(), kind)))
        assert photo.digit(picture).shape == (28, 28)


@FEW
@example(chunks=[(b"acTL", bytes(8))])  # Pillow warns of this chunk
@given(chunks=st.lists(st.tuples(st.sampled_from([b"IHDR", b"tEXt", b"PLTE", b"tRNS", b"eXIf", b"acTL"]), st.binary())))
def test_pngs_with_random_chunks_and_right_checksums(chunks: list[tuple[bytes, bytes]]) -> None:
    """With right checksums, Pillow reads more of the content."""
    whole = encoded(paper(), "PNG")
    inserted = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    with read_or_refused_in_a_line():
        photo.digit(opening.read(whole[:33] + b"".join(inserted) + whole[33:]))


@FEW
@given(spoil=spoilt())
def test_idx_files_with_changed_bytes(spoil: Spoil) -> None:
    with suppress(ValueError):  # in a command, the checksum is wrong, and the file is not parsed at all
        files.parse_idx(spoil(idx(digits_like(3, 0)[0])))


@FEW
@given(spoil=spoilt())
def test_checkpoints_with_changed_bytes(spoil: Spoil, sample_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.ckpt"
    path.write_bytes(spoil((sample_run / "checkpoints/best.ckpt").read_bytes()))
    with read_or_refused_in_a_line():
        Checkpoint(path).rated()


@FEW
@example(spoil=lambda content: b"\xff" + content, name="metrics.csv")
@example(spoil=lambda content: b"- [\n" + content, name="config.yaml")
@given(spoil=spoilt(), name=st.sampled_from(["results.json", "config.yaml", "metrics.csv", "evaluation.json"]))
def test_files_of_a_run_with_changed_bytes(spoil: Spoil, name: str, sample_run: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(spoil((sample_run / name).read_bytes()))
    run = Run(tmp_path)
    with read_or_refused_in_a_line():
        run.results, run.read_config(), run.read_metrics(), evaluation.read(tmp_path)


@FEW
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_files_with_other_content(content: object, tmp_path: Path) -> None:
    for name in ("results.json", "evaluation.json"):
        (tmp_path / name).write_text(json.dumps(content))
    with read_or_refused_in_a_line():
        _ = Run(tmp_path).results
        evaluation.read(tmp_path)
