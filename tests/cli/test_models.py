"""Models at hand: what is refused and why, what is recorded, and a hub that is never the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mplus_cli import hub, models
from mplus_cli.errors import ModelMissing, NotEnoughSpace, UsageError
from tests.cli.conftest import LLAMA, LLAMA_TENSORS, MPLUS_TENSORS, make_model, write_safetensors

COMMIT = "c" * 40


class FakeHub:
    """A hub of one repository whose files are those of a folder; it may fail, cut short or lie."""

    def __init__(self, folder: Path, spoil: Callable[[Path], None] = lambda folder: None) -> None:
        self.folder, self.spoil, self.downloads = folder, spoil, 0

    def resolve(self, repository: str, revision: str | None) -> tuple[str, Sequence[hub.HubFile]]:
        if repository not in hub.CATALOGUE.values():
            raise ConnectionError("no such repository")
        return COMMIT, [
            hub.HubFile(path.name, path.stat().st_size, models.sha256(path) if path.suffix == ".safetensors" else None)
            for path in sorted(self.folder.iterdir())
        ]

    def download(self, repository: str, commit: str, names: Sequence[str], folder: Path) -> None:
        assert commit == COMMIT
        self.downloads += 1
        for name in names:
            if not (folder / name).exists():
                (folder / name).write_bytes((self.folder / name).read_bytes())
        self.spoil(folder)


def pulled(source: Path, home: Path, **options) -> hub.PullDone:
    events = list(hub.pull("mplus-8b", home / "models", hub=FakeHub(source, **options)))
    assert isinstance(events[-1], hub.PullDone)
    return events[-1]


# ---------------------------------------------------------------------------------------------------------- describing


def test_a_trained_folder_lacks_nothing(tmp_path) -> None:
    record = models.describe(make_model(tmp_path / "m"))
    assert record.lacks == ()
    assert (record.layers, record.width, record.chunk_rows) == (1, 8, 4)


def test_a_llama_without_memory_training_is_taken_and_its_mode_is_told(mplus, tmp_path, home) -> None:
    ran = mplus("model", "import", str(make_model(tmp_path / "llama", trained=False)))
    assert ran.code == 0
    assert "raw-kv: a Llama without memory training" in ran.out
    assert "raw-kv" in mplus("model", "list").out
    modes = {entry["name"]: entry["mode"] for entry in mplus("model", "list", "--json").json["models"]}
    assert modes.pop("llama") == "raw-kv"
    assert set(modes.values()) <= {"latent"}
    shown = mplus("model", "show", "llama", "--json").json
    assert (shown["mode"], shown["chunk_rows"], shown["lacks"]) == ("raw-kv", 256, [])


def test_a_model_of_another_kind_is_refused_with_all_that_it_lacks(mplus, tmp_path, home) -> None:
    ran = mplus("model", "import", str(make_model(tmp_path / "other", trained=False, kind="mistral")))
    assert ran.code == 6
    for words in ("memory settings", "bos_embedding", "retriever projections", "adapters", "only Llamas"):
        assert words in ran.err
    assert not (home / "models").exists()


@pytest.mark.parametrize("part", ["memory", "bos_embedding", "query_proj", "key_proj", "lora_A"])
def test_each_missing_part_is_named(tmp_path, part) -> None:
    folder = make_model(tmp_path / "m")
    left = {name: shape for name, shape in (LLAMA_TENSORS | MPLUS_TENSORS).items() if part not in name}
    write_safetensors(folder / "model.safetensors", left)
    assert part in " ".join(models.lacks(folder))


def test_a_model_of_ours_may_ship_no_memory_and_no_adapters(tmp_path) -> None:
    folder = make_model(tmp_path / "m")
    ours = LLAMA | {"num_tokens": 4, "add_bos_embedding": False, "add_selector": False, "mplus": {"chunk_tokens": 64}}
    (folder / "config.json").write_text(json.dumps(ours))
    write_safetensors(folder / "model.safetensors", LLAMA_TENSORS)
    assert models.lacks(folder) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"\xff" * 64),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x10" + bytes(7) + b"[1, 2, 3, 4, 5] "),
        lambda path: path.unlink(),
    ],
)
def test_damaged_weights_are_named_and_never_crash(tmp_path, damage) -> None:
    folder = make_model(tmp_path / "m")
    damage(folder / "model.safetensors")
    assert "weights" in " ".join(models.lacks(folder))
    with pytest.raises(ModelMissing):
        models.find_model(str(folder), tmp_path)


def test_a_missing_part_of_split_weights_is_named(tmp_path) -> None:
    folder = make_model(tmp_path / "m")
    index = {"weight_map": {"memory": "model.safetensors", "lm_head.weight": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "the file model-2.safetensors" in models.lacks(folder)


# ----------------------------------------------------------------------------------------------------------- importing


@pytest.mark.parametrize("link", [False, True])
def test_an_imported_model_is_at_hand_and_verifies(mplus, tmp_path, home, link) -> None:
    source = make_model(tmp_path / "Source")
    (source / "README.md").write_text("not needed")
    assert mplus("model", "import", str(source), "--name", "mine", *(["--link"] if link else [])).code == 0
    target = home / "models" / "mine"
    assert not (target / "README.md").exists()
    assert (target / "model.safetensors").is_symlink() == link
    assert mplus("model", "verify", "mine").code == 0
    names = [entry["name"] for entry in mplus("model", "list", "--json").json["models"]]
    assert "mine" in names
    if not link:
        assert (target / "model.safetensors").stat().st_mode & 0o077 == 0
        with (target / "model.safetensors").open("r+b") as stream:
            stream.seek(-1, 2)
            stream.write(b"\x01")
        ran = mplus("model", "verify", "mine")
        assert ran.code == 6
        assert "model.safetensors" in ran.out


def test_pickled_weights_are_refused_and_never_opened(mplus, tmp_path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    ran = mplus("model", "import", str(folder))
    assert ran.code == 6
    assert "pickle" in ran.err


def test_a_pickle_beside_safetensors_is_left_behind(mplus, tmp_path, home) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "optimizer.pt").write_bytes(b"\x80\x04.")
    assert mplus("model", "import", str(folder), "--name", "m").code == 0
    assert not (home / "models" / "m" / "optimizer.pt").exists()


@pytest.mark.parametrize("name", ["../m", "A B", "", ".m", "x/y"])
def test_a_model_name_never_leaves_its_folder(tmp_path, home, name) -> None:
    folder = make_model(tmp_path / "m")
    with pytest.raises(UsageError):
        models.import_model(folder, home / "models", name or "/")


def test_two_models_never_share_a_name(tmp_path, home) -> None:
    folder = make_model(tmp_path / "m")
    models.import_model(folder, home / "models")
    with pytest.raises(UsageError, match="already"):
        models.import_model(folder, home / "models")


# ------------------------------------------------------------------------------------------------------------- pulling


def test_a_pulled_model_records_its_commit_and_verifies(tmp_path, home) -> None:
    done = pulled(make_model(tmp_path / "source"), home)
    assert done.fresh
    assert (done.record.source, done.record.revision) == ("YuWangX/mplus-8b", COMMIT)
    assert all(finding.ok for finding in models.verify_model(done.record))
    assert not pulled(tmp_path / "source", home).fresh


def test_a_broken_download_is_no_model_and_goes_on(tmp_path, home) -> None:
    source = make_model(tmp_path / "source")

    def cut(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")

    def fail(folder: Path) -> None:
        raise ConnectionError("the network is gone\nsecond line")

    with pytest.raises(ModelMissing, match="whole"):
        pulled(source, home, spoil=cut)
    with pytest.raises(ModelMissing, match="the network is gone") as caught:
        pulled(source, home, spoil=fail)
    assert "second line" not in caught.value.message
    assert "goes on where it stopped" in caught.value.remedy
    assert not (home / "models" / "mplus-8b").exists()
    assert pulled(source, home).fresh


def test_a_wrong_checksum_is_refused(tmp_path, home) -> None:
    def flip(folder: Path) -> None:
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "model.safetensors").write_bytes(data)

    with pytest.raises(ModelMissing, match="whole"):
        pulled(make_model(tmp_path / "source"), home, spoil=flip)
    assert not (home / "models" / "mplus-8b").exists()


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(tmp_path, home) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    fake = FakeHub(folder)
    with pytest.raises(ModelMissing, match="pickle"):
        list(hub.pull("mplus-8b", home / "models", hub=fake))
    assert fake.downloads == 0


def test_space_is_asked_for_before_anything_is_fetched(tmp_path, home) -> None:
    class Huge(FakeHub):
        def resolve(self, repository: str, revision: str | None) -> tuple[str, Sequence[hub.HubFile]]:
            return COMMIT, [hub.HubFile("model.safetensors", 1 << 60)]

    fake = Huge(make_model(tmp_path / "source"))
    with pytest.raises(NotEnoughSpace):
        list(hub.pull("mplus-8b", home / "models", hub=fake))
    assert fake.downloads == 0


def test_offline_opens_no_connection(tmp_path, home) -> None:
    fake = FakeHub(tmp_path)
    with pytest.raises(ModelMissing, match="offline"):
        list(hub.pull("mplus-8b", home / "models", offline=True, hub=fake))
    assert fake.downloads == 0


def test_an_unknown_name_lists_the_known_ones(tmp_path) -> None:
    with pytest.raises(UsageError) as caught:
        list(hub.pull("mplus-9b", tmp_path, hub=FakeHub(tmp_path)))
    assert "memoryllm-8b-chat" in caught.value.remedy


def test_a_model_of_another_kind_from_the_hub_is_refused_and_leaves_no_model(tmp_path, home) -> None:
    with pytest.raises(ModelMissing, match="lacks"):
        pulled(make_model(tmp_path / "source", trained=False, kind="mistral"), home)
    assert not (home / "models" / "mplus-8b").exists()
