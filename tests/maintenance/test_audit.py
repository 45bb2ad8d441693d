"""The audit finds what it looks for, where it was planted, and little else."""

import subprocess
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from maintenance.audit import ROOT, main
from maintenance.licences import JUDGED, is_allowed, licences
from maintenance.lock import locked
from maintenance.secret_scan import PATTERNS, scan_files, scan_history
from maintenance.vulnerabilities import vulnerabilities

# Put together here, so that no scanner takes this file for a leak.
PLANTED = {
    "a private key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "a token of the Hugging Face hub": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "a key of an LLM service": "sk-" + "proj-abcdefghijklmnopqrstuv0123",
    "a token of GitHub": "ghp_" + "0123456789abcdefghij0123456789abcdef",
    "a token of GitLab": "glpat-" + "0123456789abcdefghij",
    "a key of AWS": "AKIA" + "ABCDEFGHIJKLMNOP",
    "a secret key of AWS": "AWS_SECRET_ACCESS_KEY=" + "0123456789abcdefghij0123456789abcdefghij",
    "a key of Google": "AIza" + "0123456789abcdefghij0123456789abcde",
    "a token of Slack": "xoxb-" + "0123456789-abcdefghij",
    "a token of a package index": "pypi-AgE" + "0123456789" * 6,
    "a JSON web token": "eyJ" + "hbGciOiJIUzI1NiJ9." + "eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0." + "abcdefghij0123456789xyz",
    "a password in an address": "https://someone:" + "hunter2hunter2@example.org/x",
    "somebody's home": "/home" + "/someone/project/data.txt",
    "the home of root": "/root" + "/.cache/huggingface",
}
HARMLESS = [
    "HF_TOKEN, OPENAI_API_KEY and AWS_SECRET_ACCESS_KEY name the keys", "task-0123456789 risk-free-0123456789abcdef",
    "http://user:pass@host:5000/x", "https://user:password@example.org", "/home/user/runs", "~/runs", "{home}/runs/x",
    "https://example.org/root/a", "hf_hub_download(repo_id)", "sha256 " + "0123456789abcdef" * 4, "sk-learn",
]  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with an innocent file and a lock of two packages."""
    git(tmp_path, "init", "-q")
    (tmp_path / "README.md").write_text("\n".join(HARMLESS), encoding="utf-8")
    (tmp_path / "requirements.lock").write_text("# pins\nnumpy==2.0\ntorch==2.11\n", encoding="utf-8")
    commit(tmp_path)
    return tmp_path


def git(root: Path, *command: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *command], cwd=root, check=True, capture_output=True)


def commit(root: Path, message: str = "more") -> None:
    git(root, "add", "--all")
    git(root, "commit", "-q", "--allow-empty", "-m", message)


# --- secrets ---


def test_every_pattern_is_planted() -> None:
    assert PLANTED.keys() == PATTERNS.keys()


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found_and_not_repeated(kind: str, checkout: Path) -> None:
    assert scan_files(checkout).problems == []
    (checkout / "notes.txt").write_text(f"first\nkey = '{PLANTED[kind]}'\n", encoding="utf-8")
    assert scan_files(checkout).problems == [], "not under version control"
    commit(checkout)
    assert scan_files(checkout).problems == [f"notes.txt:2: {kind}"]


def test_a_secret_that_was_removed_is_in_the_history(checkout: Path) -> None:
    assert scan_history(checkout).problems == []
    (checkout / "notes.txt").write_text(PLANTED["a key of AWS"], encoding="utf-8")
    commit(checkout)
    (checkout / "notes.txt").unlink()
    commit(checkout, f"no more {PLANTED['a token of GitLab']}")
    assert scan_files(checkout).problems == []
    found = scan_history(checkout).problems
    assert [line.split(" ", 1)[1] for line in found] == ["its message: a token of GitLab", "notes.txt: a key of AWS"]


# --- licences ---


def package(**fields: str | list[str]) -> Message:
    message = Message()
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            message[name.replace("_", "-")] = value
    return message


INSTALLED = {
    "numpy": package(License_Expression="BSD-3-Clause AND 0BSD"),
    "torch": package(License="BSD-3-Clause"),
    "strict": package(License_Expression="AGPL-3.0-only"),
    "vague": package(Classifier=["License :: OSI Approved"]),
    "classified": package(Classifier=["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"]),
}


def of(name: str) -> Message:
    if name not in INSTALLED:
        raise metadata.PackageNotFoundError(name)
    return INSTALLED[name]


def test_licences_not_on_the_list_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("".join(f"{name}==1\n" for name in (*INSTALLED, "absent")), encoding="utf-8")
    found = licences(lock, of)
    assert [line.partition(" is not")[0] for line in found.problems] == [
        "strict: licence 'AGPL-3.0-only'", "vague: licence 'unknown'",
        "classified: licence 'GNU General Public License v3 (GPLv3)'",
    ]  # fmt: skip
    assert found.notes == ["absent: not installed here, so its licence is not known"]


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("MIT", True), ("Apache License 2.0", True), ("Mozilla Public License 2.0 (MPL 2.0)", True), ("MPL-2.0", True),
        ("LGPL-3.0-or-later", True), ("ISC License (ISCL)", True), ("GPL-3.0-only OR MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True), ("BSD, Public Domain", True), ("GPL-3.0-only AND MIT", False),
        ("MIT AND (GPL-2.0 OR Apache-2.0)", False), ("", False), ("Proprietary", False), ("SSPL-1.0", False),
        ("CC-BY-NC-4.0", False), ("MIT or so", False),
    ],
)  # fmt: skip
def test_what_is_on_the_list(said: str, allowed: bool) -> None:
    assert is_allowed(said) is allowed


def test_whoever_was_judged_is_in_the_lock() -> None:
    assert JUDGED.keys() <= locked(ROOT / "requirements.lock").keys()


# --- vulnerabilities ---

ANSWERS = {
    "known": (
        """{"dependencies": [{"name": "torch", "version": "2.11", "vulns": [{"id": "X-1", "fix_versions": ["2.12"]}]},
        {"name": "numpy", "version": "2.0", "vulns": []}, {"name": "a", "skip_reason": "b"}]}""",
        ["torch 2.11: X-1; fixed in 2.12"],
        ["not asked: 1 of 3 packages are unknown where pip-audit looks for them"],
    ),
    "none": ('{"dependencies": []}', [], []),
    "offline": ("", [], ["not asked: pip-audit has no answer, perhaps without a network (no route)"]),
    "other": ("[]", [], ["not asked: pip-audit has no answer, perhaps without a network (no route)"]),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_pip_audit_answers(case: str, tmp_path: Path) -> None:
    answer, problems, notes = ANSWERS[case]
    program = f"import sys; sys.stdout.write({answer!r}); sys.stderr.write('Traceback\\nno route\\n'); sys.exit(1)"
    found = vulnerabilities(tmp_path / "requirements.lock", (sys.executable, "-c", program))
    assert (found.problems, found.notes) == (problems, notes)


def test_a_program_that_is_not_there_is_a_note(tmp_path: Path) -> None:
    found = vulnerabilities(tmp_path / "requirements.lock", (str(tmp_path / "nothing"),))
    assert found.problems == []
    assert len(found.notes) == 1


# --- all of it ---


def test_a_problem_is_the_exit_status(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(checkout), "--history"]) == 0
    assert "secrets in the history: nothing found" in capsys.readouterr().out
    (checkout / "notes.txt").write_text(PLANTED["a private key"], encoding="utf-8")
    commit(checkout)
    assert main(["--root", str(checkout)]) == 1
    assert "secrets in files: notes.txt:1: a private key" in capsys.readouterr().out


def test_this_checkout_has_no_secrets_and_only_licences_on_the_list() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert licences(ROOT / "requirements.lock").problems + scan_files(ROOT).problems == []
