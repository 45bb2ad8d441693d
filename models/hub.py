"""Coders on the Hugging Face hub. Needs `huggingface_hub`, which nothing else in `models` does."""

from pathlib import Path


def download(name: str, hookpoint: str | None) -> Path:
    """The folder of one coder in a local copy of repository `name`. Raises FileNotFoundError where there is none."""
    from huggingface_hub import snapshot_download

    top = ["*cfg.json", "sae.safetensors"]  # a coder that lies there; of others what names their folders
    folder = Path(snapshot_download(name, allow_patterns=f"{hookpoint}/*" if hookpoint else top))
    if hookpoint:
        return folder / hookpoint
    if not (folder / "cfg.json").is_file():
        there = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob("**/cfg.json"))
        raise FileNotFoundError(f"hookpoint None: must name a folder of {name}; there are {', '.join(there) or 'none'}")
    return folder
