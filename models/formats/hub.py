"""Coders on the Hugging Face hub. Needs `huggingface_hub`, which nothing else in `models` does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.coder import Coder
from models.formats import sparsify
from models.formats.model_card import CARD_FILE, card_on_hub, index_card, model_card

CODER_FILES = (sparsify.CONFIG_FILE, sparsify.WEIGHTS_FILE)


def download(name: str, hookpoint: str | None) -> Path:
    """The folder of one coder in a local copy of repository `name`. Raises FileNotFoundError where there is none."""
    from huggingface_hub import snapshot_download

    top = [f"*{sparsify.CONFIG_FILE}", sparsify.WEIGHTS_FILE]  # a coder that lies there; of others what names them
    with _one_line("name", name):
        folder = Path(snapshot_download(name, allow_patterns=f"{hookpoint}/*" if hookpoint else top))
    if hookpoint:
        return folder / hookpoint
    if not (folder / sparsify.CONFIG_FILE).is_file():
        there = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob("**/cfg.json"))
        raise FileNotFoundError(f"hookpoint None: must name a folder of {name}; there are {', '.join(there) or 'none'}")
    return folder


def push_folder(
    folder: Path | str,
    repo_id: str,
    hookpoint: str | None = None,
    *,
    private: bool | None = None,
    overwrite: bool = False,
) -> str:
    """Upload the coder saved in `folder`, with the card beside it, in one commit; returns the commit's address.

    It goes into the folder `hookpoint` of the repository, as sparsify has them, or to its top. The repository is made
    if there is none; `private` is for a new one, the account's default (public for most) unless given. A folder
    without a README.md gets a card from its config. Raises FileNotFoundError where `folder` holds no coder,
    FileExistsError where the repository has one there and `overwrite` is False, ValueError for a name that the hub
    does not allow, PermissionError where it lets you not write, ConnectionError where it cannot be reached, OSError
    for its other errors.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    folder, api = Path(folder), HfApi()
    if hookpoint is not None and (hookpoint.startswith("/") or {"", ".", ".."} & set(hookpoint.split("/"))):
        raise ValueError(f"hookpoint {hookpoint!r}: must name a folder of the repository")
    if missing := [name for name in CODER_FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: no {' and no '.join(missing)} there, which a sparse coder consists of")
    has_card = (folder / CARD_FILE).is_file()
    card = (
        (folder / CARD_FILE).read_text(encoding="utf-8")
        if has_card
        else model_card(sparsify.load(folder, "cpu", Coder))
    )
    place = f"{hookpoint}/" if hookpoint else ""
    with _one_line("repo_id", repo_id):
        there = [n for n in (*CODER_FILES, CARD_FILE) if not overwrite and api.file_exists(repo_id, place + n)]
    if there:
        raise FileExistsError(f"repo_id {repo_id!r}: holds {place}{there[0]} already; overwrite=True replaces it")
    files: dict[str, str | bytes] = {place + name: str(folder / name) for name in CODER_FILES}
    files[place + CARD_FILE] = card_on_hub(card, repo_id, hookpoint).encode()
    with _one_line("repo_id", repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if hookpoint and not api.file_exists(repo_id, CARD_FILE):
            files[CARD_FILE] = index_card(card, repo_id).encode()
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(path_in_repo=path, path_or_fileobj=content) for path, content in files.items()],
            commit_message=f"Add the coder of {hookpoint}" if hookpoint else "Add a coder",
        )
    return str(commit.commit_url)


@contextmanager
def _one_line(argument: str, repo_id: str) -> Iterator[None]:
    """Turn what the hub's client raises into Python's own errors, in one line that names the repository."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    # The first is the root exception of the HTTP library; the client's version decides which library that is.
    unreachable: tuple[Any, ...] = (HfHubHTTPError.__bases__[0], OSError)
    told = f"{argument} {repo_id!r}: "
    try:
        yield
    except RepositoryNotFoundError:
        raise FileNotFoundError(f"{told}{constants.ENDPOINT} has no such repository that you may see") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        kind = PermissionError if status in (401, 403) else OSError
        reason = _first_line(error.server_message or error)
        raise kind(f"{told}{constants.ENDPOINT} refused with status {status}, {reason}") from None
    except unreachable as error:
        raise ConnectionError(f"{told}{constants.ENDPOINT} cannot be reached, {_first_line(error)}") from None
    except RuntimeError as error:  # of the upload of a large file
        raise OSError(f"{told}{_first_line(error)} ({_first_line(error.__cause__ or error)})") from None


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
