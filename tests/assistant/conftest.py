import pytest

from tests.assistant import world


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return world.make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLUS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def novel(tmp_path):
    path = tmp_path / "novel.md"
    path.write_text(world.book(), encoding="utf-8")
    return path
