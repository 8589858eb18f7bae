"""A file written through a journal holds, on disk, one of the states that were committed."""

# SPDX-License-Identifier: BSD-3-Clause

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsight import journal
from beamsight.journal import PAGE, Journalled

place, some = st.integers(0, 3 * PAGE), st.binary(min_size=1, max_size=2 * PAGE)
steps = st.one_of(
    st.tuples(st.just("write"), place, some),
    st.tuples(st.just("truncate"), place),
    st.tuples(st.just("commit")),
    st.tuples(st.just("end")),
)


def opened(path: Path) -> Journalled:
    file = Journalled(path)
    file.recover()
    return file


def written(before: bytes, at: int, data: bytes) -> bytes:
    return before[:at].ljust(at, b"\0") + data + before[at + len(data) :]


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=12))
def test_what_is_read_is_what_was_written_and_what_is_on_disk_what_was_committed(script: list[tuple]) -> None:  # type: ignore[type-arg]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        file, now, kept = opened(path), b"", b""
        for what, *values in script:
            if what == "write":
                file.seek(values[0])
                file.write(values[1])
                now = written(now, *values)
            elif what == "truncate":
                file.truncate(values[0])
                now = now[: values[0]].ljust(values[0], b"\0")
            elif what == "commit":
                file.commit()
                kept = now
            else:
                # The process ends without a word; what was appended since may stand behind the last state.
                file.close()
                file = opened(path)
                now = path.read_bytes()
            file.seek(0)
            assert file.read(len(now) + 9) == now
            assert path.read_bytes()[: len(kept)] == kept
        file.close()
        assert [p.name for p in Path(folder).iterdir()] == ["file"]


@pytest.mark.parametrize("stop", range(7))
def test_wherever_a_commit_is_cut_off_the_file_is_before_or_after_it(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    before, after = os.urandom(5 * PAGE), bytearray(os.urandom(6 * PAGE))
    path.write_bytes(before)
    file, put, left = opened(path), journal._put, [stop]

    def stops(fd: int, data: bytes, at: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        put(fd, data, at)

    monkeypatch.setattr(journal, "_put", stops)
    file.write(bytes(after))
    done = stop >= 6  # what is appended, and five pages
    for _ in range(0 if done else 2):
        with pytest.raises(OSError, match="No space"):
            file.commit()
    if done:
        file.commit()
    monkeypatch.undo()
    file.close()
    again = opened(path)
    again.close()
    assert path.read_bytes() == (after if done or stop > 0 else before)
    assert not list(tmp_path.glob(".*"))
