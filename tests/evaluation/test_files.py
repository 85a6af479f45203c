import pytest

from evaluation import files


def test_write_leaves_the_earlier_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    files.write(path, "first")
    assert path.read_text() == "first"

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(files.WriteError, match="No space left"):
        files.write(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
