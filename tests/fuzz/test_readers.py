"""Damaged and hostile files: whatever is in them, the documented errors come out, and nothing is written elsewhere."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.limits import little_memory
from tests.fuzz.mutations import mutated
from tests.fuzz.readers import READERS

EXAMPLES = 80
"""Of each reader; a tenth of a second each at most."""


@pytest.mark.parametrize("name", READERS)
def test_files_as_they_should_be_are_read(name: str, tmp_path: Path) -> None:
    for path, content in READERS[name].files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    if name == "coder of SAELens":
        with pytest.raises(ValueError, match="holds SAELens'"):
            READERS[name].read(tmp_path)
    else:
        READERS[name].read(tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_told_of(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    reader = READERS[name]
    files = reader.files()

    @settings(
        max_examples=EXAMPLES, deadline=10_000, database=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip
    @given(st.data())
    def check(data: st.DataObject) -> None:
        victim = data.draw(st.sampled_from(sorted(files)))
        around = tmp_path_factory.mktemp("around")
        inside = around / "a" / "b" / "c" / "inside"
        for path, content in files.items():
            if path == victim:
                content = mutated(path, content, lambda low, high: data.draw(st.integers(low, high)))
            (inside / path).parent.mkdir(parents=True, exist_ok=True)
            (inside / path).write_bytes(content)
        try:
            with little_memory():
                reader.read(inside)
        except reader.errors as error:
            assert len(str(error).splitlines()) == 1
            assert len(str(error).replace(str(inside), "")) < 2000
        ours = (inside, *inside.parents)
        assert [path for path in around.rglob("*") if path not in ours and inside not in path.parents] == []

    check()
