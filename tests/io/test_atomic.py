import resource

import pytest

from gaussmith.events import UserError
from gaussmith.io.atomic import atomic_path, write_bytes
from gaussmith.io.source import read_bytes


def test_writes_and_replaces(tmp_path):
    target = tmp_path / "new" / "folder" / "a.bin"
    write_bytes(target, b"one")
    write_bytes(target, b"t", memoryview(b"wo"))
    assert target.read_bytes() == b"two"
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk(tmp_path):
    target = tmp_path / "a.bin"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses to write more, as on a full disk
    try:
        with pytest.raises(UserError, match=r"cannot write .*a\.bin"):
            write_bytes(target, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for place in (tmp_path, file / "below.bin", tmp_path / "null\0.bin", "/proc/none/a.bin"):
        with pytest.raises(UserError, match="cannot write"):
            write_bytes(place, b"data")
    assert list(tmp_path.iterdir()) == [file]


def test_long_names_and_links(tmp_path):
    longest = tmp_path / ("n" * 255)
    write_bytes(longest, b"x")
    link = tmp_path / "link"
    link.symlink_to(longest)
    write_bytes(link, b"y")
    assert link.is_symlink()
    assert longest.read_bytes() == b"y"


def test_read_refuses_what_is_no_file(tmp_path):
    (tmp_path / "empty").touch()
    cases = {
        tmp_path / "missing": "no such file",
        tmp_path: "folder",
        tmp_path / "empty": "empty",
        "/dev/zero": "regular",
        "a\0b": "cannot read",
        tmp_path / "empty" / "x": "cannot read",
    }
    for path, reason in cases.items():
        with pytest.raises(UserError, match=reason):
            read_bytes(path)
    (tmp_path / "long").write_bytes(bytes(11))
    with pytest.raises(UserError, match="limit of 10"):
        read_bytes(tmp_path / "long", limit=10)
