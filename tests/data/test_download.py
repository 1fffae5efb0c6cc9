"""MNIST's files: found in every layout, verified to the last bit, fetched from mirrors that misbehave."""

import gzip
import multiprocessing
import os
import time
import tracemalloc
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from digits.data import download as files
from digits.data import sources
from digits.errors import UserError

from ..helpers import Mirror, idx

TRAIN_IMAGES = "train-images-idx3-ubyte"
StartMirror = Callable[[dict[str, bytes]], Mirror]


@pytest.mark.parametrize("folder", ["", "MNIST/raw"])
@pytest.mark.parametrize("compressed", [True, False])
def test_files_are_found_in_every_layout(
    tiny_contents: dict[str, bytes], tmp_path: Path, folder: str, compressed: bool
) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, content in tiny_contents.items():
        path = tmp_path / folder / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)
    found = files.find(tmp_path)
    assert found.contents == tiny_contents
    assert not found.missing
    assert not found.damaged


@pytest.mark.parametrize("name_of", ["{dotted}", "{name}/{name}", "{dotted}/{dotted}", "{dotted}/{name}.gz"])
def test_files_are_found_as_other_tools_unpack_them(
    tiny_contents: dict[str, bytes], tmp_path: Path, name_of: str
) -> None:
    """7-Zip and Kaggle write a dot before idx, and Kaggle puts each file into a folder."""
    for name, content in tiny_contents.items():
        path = tmp_path / name_of.format(name=name, dotted=name.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    found = files.find(tmp_path)
    assert found.contents == tiny_contents
    assert not found.damaged


def test_a_damaged_file_is_reported_once(tiny_contents: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / next(iter(tiny_contents))
    path.write_bytes(b"no")
    assert list(files.find(tmp_path).damaged) == [path]


def test_parse_idx() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert (files.parse_idx(idx(array)) == array).all()
    assert files.parse_idx(idx(array)).flags.writeable  # torch warns of an array that is read-only


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x00\x08", b"\x1f\x8b\x08\x00", idx(np.zeros(3, np.uint8))[:-1], idx(np.zeros(3, np.uint8)) + b"x",
     b"\x00\x00\x08\x03" + b"\xff" * 12],
)  # fmt: skip
def test_invalid_idx_files_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="IDX"):
        files.parse_idx(content)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[len(content) // 2 :]
    elif how == "empty":
        content.clear()
    elif how == "bit flipped":
        content[len(content) // 2] ^= 1
    elif how == "text":
        content[:] = b"<html>not found</html>"
    elif how == "bomb":
        content[:] = gzip.compress(bytes(100_000_000))
    path.write_bytes(content)


DAMAGES = ["truncated", "empty", "bit flipped", "text"]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_refused_if_it_cannot_be_downloaded_again(
    tiny_contents: dict[str, bytes], tiny_mnist: Path, how: str, compressed: bool
) -> None:
    path = tiny_mnist / f"{TRAIN_IMAGES}.gz"
    if not compressed:
        path.unlink()
        path = path.with_suffix("")
        path.write_bytes(tiny_contents[TRAIN_IMAGES])
    damage(path, how)
    before = path.read_bytes()
    with pytest.raises(UserError) as error:
        files.obtain(tiny_mnist, mirrors=[])
    assert f"{path} is damaged" in str(error.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("packed", [True, False])
def test_an_oversized_file_is_not_read_to_its_end(packed: bool, tiny_mnist: Path) -> None:
    path = tiny_mnist / f"{TRAIN_IMAGES}.gz"
    if packed:
        damage(path, "bomb")
    else:
        path = path.rename(tiny_mnist / TRAIN_IMAGES)
        os.truncate(path, 100_000_000)
    size = files.MNIST.files[TRAIN_IMAGES].size
    tracemalloc.start()
    try:
        assert "holds more" in files.find(tiny_mnist).damaged[path]
        assert tracemalloc.get_traced_memory()[1] < 5_000_000 + 5 * size  # the file holds 100,000,000
    finally:
        tracemalloc.stop()


def test_on_a_full_disk_the_damaged_file_keeps_its_name(
    tiny_contents: dict[str, bytes], tmp_path: Path, start_mirror: StartMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    (folder / TRAIN_IMAGES).write_bytes(b"damaged")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        files.obtain(tmp_path, [start_mirror(tiny_contents).address])
    assert [path.read_bytes() for path in folder.iterdir()] == [b"damaged"]


@pytest.mark.parametrize("where", ["", "MNIST/raw"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_replaced_but_not_deleted(
    tiny_contents: dict[str, bytes], tmp_path: Path, start_mirror: StartMirror, how: str, where: str
) -> None:
    mirror = start_mirror(tiny_contents)
    folder = tmp_path / where
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tiny_contents.items():
        (folder / name).write_bytes(content)
    damage(folder / TRAIN_IMAGES, how)
    damaged_content = (folder / TRAIN_IMAGES).read_bytes()

    found = files.obtain(tmp_path, [mirror.address])
    assert found.contents == tiny_contents
    assert mirror.requests == [f"{TRAIN_IMAGES}.gz"]
    assert damaged_content in [path.read_bytes() for path in tmp_path.rglob(f"{TRAIN_IMAGES}*")]


def test_all_four_files_are_fetched(tiny_contents: dict[str, bytes], tmp_path: Path, start_mirror: StartMirror) -> None:
    mirror = start_mirror(tiny_contents)
    found = files.obtain(tmp_path / "new" / "folder", [mirror.address])
    assert found.contents == tiny_contents
    assert all(path.parent == tmp_path / "new" / "folder" / "MNIST" / "raw" for path in found.paths.values())
    assert files.obtain(tmp_path / "new" / "folder", []).contents == tiny_contents  # now from the folder
    assert len(mirror.requests) == 4


def not_found(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    Mirror.send(handler, b"")


def garbage(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    Mirror.send(handler, b"<html>welcome to our hotel</html>")


def cut_off(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def cut_off_without_a_length(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])


def no_answer(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    time.sleep(20)


def drop_by_drop(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


def endless(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(bytes(1_000_000))


def not_http(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.wfile.write(b"220 this is no web server\r\n\r\n")
    handler.close_connection = True


BAD = [not_found, garbage, cut_off, cut_off_without_a_length, no_answer, drop_by_drop, endless, not_http]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
def test_the_second_mirror_is_used_when_the_first_one_fails(
    tiny_contents: dict[str, bytes],
    tmp_path: Path,
    start_mirror: StartMirror,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler, bytes], None],
) -> None:
    monkeypatch.setattr(files, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(files, "MAX_DOWNLOAD_BYTES", 3_000_000)
    bad, good = start_mirror(tiny_contents), start_mirror(tiny_contents)
    bad.answer = answer
    started = time.monotonic()
    found = files.obtain(tmp_path, [bad.address, good.address])
    assert found.contents == tiny_contents
    assert time.monotonic() - started < 5
    assert len(bad.requests) == 1  # asked once, not for every file
    assert sorted(path.name for path in (tmp_path / "MNIST" / "raw").iterdir()) == sorted(tiny_contents)


def test_a_mirror_that_sends_too_much_is_abandoned(
    tiny_contents: dict[str, bytes], tmp_path: Path, start_mirror: StartMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_DOWNLOAD_BYTES", 3_000_000)
    mirror = start_mirror(tiny_contents)
    mirror.answer = endless
    with pytest.raises(files.DownloadError, match="sends more than 3,000,000 bytes"):
        files.obtain(tmp_path, [mirror.address])


def test_an_unreachable_mirror_is_skipped(
    tiny_contents: dict[str, bytes], tmp_path: Path, start_mirror: StartMirror
) -> None:
    good = start_mirror(tiny_contents)
    assert files.obtain(tmp_path, ["http://127.0.0.1:9/", good.address]).contents == tiny_contents


def test_all_mirrors_that_fail_are_named(tmp_path: Path, start_mirror: StartMirror) -> None:
    mirror = start_mirror({})
    with pytest.raises(files.DownloadError) as error:
        files.obtain(tmp_path, [mirror.address, "http://127.0.0.1:9/"])
    assert mirror.address in str(error.value)
    assert "404" in str(error.value)
    assert "127.0.0.1:9" in str(error.value)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnist").write_text("not a folder")
    with pytest.raises(UserError, match="data.root"):
        files.obtain(tmp_path / "mnist", [])


def _obtain(root: Path, address: str, official: dict[str, files.Official]) -> None:
    sources.MNIST.files = official
    assert not files.obtain(root, [address]).missing


@pytest.mark.slow
def test_two_processes_at_once_download_the_files_only_once(
    tiny_contents: dict[str, bytes], tmp_path: Path, start_mirror: StartMirror
) -> None:
    mirror = start_mirror(tiny_contents)

    def slowly(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        time.sleep(0.2)
        Mirror.send(handler, content)

    mirror.answer = slowly
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path, mirror.address, sources.MNIST.files)
    processes = [context.Process(target=_obtain, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(mirror.requests) == 4  # one fetched, the other waited


def test_the_mirrors_are_web_addresses() -> None:
    mirrors = sources.MNIST.mirrors()
    assert mirrors
    assert all(mirror.startswith("http") for mirror in mirrors)


@pytest.mark.mnist
def test_the_official_files_are_verified_and_have_their_shapes(mnist_root: Path) -> None:
    found = files.find(mnist_root)
    shapes = [files.parse_idx(found.contents[name]).shape for name in sources.MNIST.files]
    assert shapes == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]


@pytest.mark.slow
@pytest.mark.mnist
def test_a_mirror_delivers_the_official_files(mnist_root: Path, tmp_path: Path, start_mirror: StartMirror) -> None:
    contents = files.find(mnist_root).contents
    found = files.obtain(tmp_path, [start_mirror(contents).address])
    assert found.contents == contents
    from torchvision.datasets import MNIST

    assert len(MNIST(tmp_path, train=True)) == 60_000  # torchvision finds them where they were put
