"""Machines that say no."""

import resource

from tests.messages.mistakes import Mistake, Place, mistake

MISTAKES: dict[str, Mistake] = {}


@mistake(MISTAKES, r"Ray does not start on this machine: NotADirectoryError: .*; it needs room and a right .*")
def a_temporary_directory_that_ray_cannot_have(place: Place) -> list[str]:
    (place.path / "file").write_text("", encoding="utf-8")
    place.patch.setenv("RAY_TMPDIR", str(place.path / "file"))
    return []


@mistake(
    MISTAKES, r"Ray does not start on this machine: OSError: .*; .* names another place, of at most 39 characters\), .*"
)
def a_temporary_directory_whose_name_is_too_long_for_sockets(place: Place) -> list[str]:
    long = place.path / ("d" * 90)
    long.mkdir()
    place.patch.setenv("RAY_TMPDIR", str(long))
    return []


@mistake(MISTAKES, r"storage '.*/file/below': cannot be a directory \(Not a directory\)")
def a_storage_below_a_file(place: Place) -> list[str]:
    (place.path / "file").write_text("", encoding="utf-8")
    return ["--storage", str(place.path / "file" / "below")]


@mistake(MISTAKES, r"cannot write: File too large.*; free some room and try again")
def no_room_for_a_file(place: Place) -> list[str]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    place.undo.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    return []
