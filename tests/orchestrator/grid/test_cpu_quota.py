"""CPU quotas of containers."""

from pathlib import Path

import pytest

from orchestrator.grid.cpu_quota import cpu_quota, usable_cores

CASES = {
    "version 2, own group": ({"job/cpu.max": "150000 100000\n"}, "0::/job\n", 1.5),
    "version 2, group above": ({"job/cpu.max": "max 100000\n", "cpu.max": "200000 100000\n"}, "0::/job\n", 2.0),
    "version 2, smallest holds": ({"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, "0::/a/b\n", 0.5),
    "version 2, in a container": ({"cpu.max": "300000 100000\n"}, "0::/../../elsewhere\n", 3.0),
    "version 2, no limit": ({"job/cpu.max": "max 100000\n"}, "0::/job\n", None),
    "version 1": (
        {"cpu/job/cpu.cfs_quota_us": "250000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
        "5:memory:/job\n4:cpu,cpuacct:/job\n",
        2.5,
    ),
    "version 1, in a container": (
        {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        "4:cpu,cpuacct:/docker/0123\n",
        1.0,
    ),
    "version 1, a directory of both controllers alone": (
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
        "4:cpu,cpuacct:/a\n",
        0.5,
    ),
    "version 1, no limit": (
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        "4:cpu,cpuacct:/\n",
        None,
    ),
    "unreadable": ({"cpu.max": "?\n"}, "0::/\n", None),
    "no cgroups": ({}, "", None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_quota_is_found(case: str, tmp_path: Path) -> None:
    files, own, expected = CASES[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cpu_quota(tmp_path, own) == expected


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1
