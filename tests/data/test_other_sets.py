"""Other data sets in MNIST's format: their files, verified and downloaded, and runs with their own class names."""

import gzip
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from digits.config import DataConfig
from digits.data import download, sources
from digits.data.mnist import MNISTDataModule
from digits.errors import RunError, UserError
from digits.evaluation.evaluate import evaluate
from digits.model.spec import DataSpec
from digits.runs.find import find
from digits.training.train import train

from ..helpers import TINY, Mirror, composed, digits_like, idx


@pytest.fixture(params=["fashion", "kmnist"])
def tiny_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, bytes]]:
    """Four small files that count as the official ones of a data set; for KMNIST, by the MD5 of the gz files."""
    source = sources.SOURCES[request.param]
    parts = [array for number, seed in ((240, 1), (50, 2)) for array in digits_like(number, seed)]
    contents = {name: gzip.compress(idx(array), mtime=0) for name, array in zip(source.files, parts, strict=True)}
    official = {}
    for name, packed in contents.items():
        whole = gzip.decompress(packed)
        md5 = hashlib.md5(packed).hexdigest() if request.param == "kmnist" else ""
        sha256 = "" if md5 else hashlib.sha256(whole).hexdigest()
        official[name] = sources.Official(len(whole), sha256, md5)
    monkeypatch.setattr(source, "files", official)
    return request.param, contents


def put(folder: Path, contents: dict[str, bytes]) -> None:
    for name, packed in contents.items():
        (folder / f"{name}.gz").write_bytes(packed)


def test_files_are_found_where_torchvision_puts_them(tiny_set: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    name, contents = tiny_set
    source = sources.SOURCES[name]
    for number, (root, folder, is_found) in enumerate([
        ("all", f"{source.torchvision}/raw", True), (source.torchvision, "raw", True), ("flat", ".", True),
        ("mine", "raw", False), ("all", "MNIST/raw", False),
    ]):  # fmt: skip
        base = tmp_path / str(number) / root
        (base / folder).mkdir(parents=True)
        put(base / folder, contents)
        assert (not download.find(base, source).missing) == is_found


def test_files_are_downloaded_verified_and_kept(tiny_set: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    name, contents = tiny_set
    source = sources.SOURCES[name]
    mirror = Mirror({f"{each}.gz": packed for each, packed in contents.items()})
    root = tmp_path / source.torchvision
    found = download.obtain(root, [mirror.address], source)
    assert found.contents == {each: gzip.decompress(packed) for each, packed in contents.items()}
    suffix = ".gz" if name == "kmnist" else ""
    assert {path.name for path in (root / "raw").iterdir()} == {f"{each}{suffix}" for each in contents}
    assert not download.obtain(root, [], source).missing
    damaged = root / "raw" / f"t10k-labels-idx1-ubyte{suffix}"
    damaged.write_bytes(gzip.compress(b"other"))
    with pytest.raises(UserError, match="is damaged"):
        download.obtain(root, [], source)
    mirror.server.shutdown()
    mirror.server.server_close()


def test_an_unpacked_file_that_cannot_be_verified_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"anything")
    found = download.find(tmp_path, sources.KMNIST)
    assert list(found.damaged.values()) == ["only the .gz file can be verified"]
    assert download.MAX_DOWNLOAD_BYTES > 26_421_880  # the largest file, of Fashion-MNIST


@pytest.mark.slow
def test_a_run_on_another_data_set_is_trained_and_tested(
    tiny_set: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, contents = tiny_set
    source = sources.SOURCES[name]
    root = tmp_path / source.torchvision
    root.mkdir()
    put(root, contents)
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "nowhere"))  # it applies to MNIST only
    results = train(composed(*TINY, f"data={name}", f"data.root={root}"), tmp_path / "run")
    assert results.dataset["name"] == name
    assert results.dataset["train"] == 200
    evaluation = evaluate(find(tmp_path / "run"))
    assert tuple(evaluation.classes) == source.classes
    assert evaluation.test_accuracy == results.test_accuracy
    data = MNISTDataModule(DataConfig(name, str(root), val_size=40))
    images, _ = digits_like(240, 1)
    expected = DataSpec(source.classes, round(images.mean() / 255, 4), round(images.std() / 255, 4))
    assert data.spec == expected
    monkeypatch.chdir(tmp_path)
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=rf"{source.title}, on which it is tested, is not in "):
        evaluate(find(tmp_path / "run"))
    shutil.copytree("elsewhere", f"data/{source.torchvision}", dirs_exist_ok=True)  # where it would be downloaded to
    assert evaluate(find(tmp_path / "run")).test_accuracy == results.test_accuracy


def test_missing_files_of_another_data_set_are_an_error_offline(tmp_path: Path) -> None:
    data = MNISTDataModule(
        DataConfig("fashion", str(tmp_path), mirrors=["http://127.0.0.1:9/"])
    )  # no sample replaces it
    with pytest.raises(RunError, match=r"Fashion-MNIST is not in data\.root=.* Put the four files there or set data\."):
        data.setup()


@pytest.mark.slow
@pytest.mark.parametrize("name", sources.SOURCES)
def test_mirrors_checksums_and_classes_match_torchvision(name: str) -> None:
    from torchvision import datasets

    source = sources.SOURCES[name]
    theirs = getattr(datasets, source.torchvision)
    assert source.mirrors() == list(theirs.mirrors)
    md5 = {file.removesuffix(".gz"): checksum for file, checksum in theirs.resources}
    assert list(source.files) == list(md5)
    if source.files["train-images-idx3-ubyte"].md5:
        assert {file: official.md5 for file, official in source.files.items()} == md5
    if name != "mnist":
        assert [each.lower() for each in source.classes] == [each.lower() for each in theirs.classes]
    assert np.unique(source.classes).size == 10
