"""`SparseCoder`, the name people use: the mathematics of a coder, and the methods that read and write it."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from models.coder import Coder
from models.formats import hub, saelens, sparsify
from models.formats.model_card import CARD_FILE, model_card


class SparseCoder(Coder):
    """A coder that can be saved and loaded; made by `SparseCoder(d_in, cfg, device)`, see `models.coder.Coder`."""

    def save_to_disk(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write `cfg.json` and `sae.safetensors` as sparsify lays them out, the scales folded into the weights.

        Raises FileExistsError where `path` holds a coder and `overwrite` is False.
        """
        sparsify.save(self, Path(path), overwrite=overwrite)

    def save_to_saelens(self, path: Path | str, metadata: Mapping[str, object] | None = None) -> None:
        """Write a `topk` or `mp-tied` coder as SAELens does, for `sae_lens.SAE.load_from_disk`.

        It takes inputs, and gives reconstructions and activations, in the units of the inputs trained on: the scales
        are folded into the weights. `metadata` becomes its `cfg.metadata`: `model_name`, `hook_name` (TransformerLens'
        name of the place), `dataset_path`, `context_size` or others. A tied pursuit differs in one case: SAELens tests
        the residual after each step, so a token within `residual_threshold` from the start takes one latent there and
        none here. Raises ValueError for other variants, FileExistsError where `path` holds a coder.
        """
        saelens.save(self, Path(path), metadata)

    @staticmethod
    def load_from_disk(path: Path | str, device: str | torch.device = "cpu") -> "SparseCoder":
        """Read what `save_to_disk`, or sparsify's, wrote. Raises ValueError for a coder of another kind."""
        return sparsify.load(Path(path), device, SparseCoder)

    @staticmethod
    def load_from_hub(name: str, hookpoint: str | None = None, device: str | torch.device = "cpu") -> "SparseCoder":
        """Read a coder, ours or sparsify's, from the Hugging Face hub; `hookpoint` is its folder in the repository.

        Raises FileNotFoundError where there is no coder at that place.
        """
        return sparsify.load(hub.download(name, hookpoint), device, SparseCoder)

    def push_to_hub(
        self,
        repo_id: str,
        hookpoint: str | None = None,
        *,
        run: Mapping[str, Mapping[str, object]] | None = None,
        licence: str | None = None,
        private: bool | None = None,
        overwrite: bool = False,
    ) -> str:
        """Upload this coder to the Hugging Face hub with a card written from `run`; returns the commit's address.

        `run` and `licence` are those of `models.formats.model_card.model_card`, the rest and the errors those of
        `models.formats.hub.push_folder`, which uploads what a sweep saved with the card that it wrote.
        """
        with TemporaryDirectory() as folder:
            self.save_to_disk(folder)
            (Path(folder) / CARD_FILE).write_text(model_card(self, run, licence), encoding="utf-8")
            return hub.push_folder(folder, repo_id, hookpoint, private=private, overwrite=overwrite)
