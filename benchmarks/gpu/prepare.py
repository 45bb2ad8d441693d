"""Stage: unpack the model and keep its activations in files that the later stages map."""

import time

import numpy as np
import torch

from benchmarks.gpu import packed_model
from benchmarks.gpu.stage import HOOKPOINTS, TRAIN, VAL, Stage
from orchestrator.language_models.loading import LanguageModel


def main() -> None:
    """Write the activations of both splits."""
    stage = Stage.from_command_line("prepare")
    directory = stage.work / "model"
    packed_model.unpack(stage.pack, directory)
    model = LanguageModel.load(str(directory))
    for split, most in ((VAL, stage.sizes.val_tokens), (TRAIN, stage.sizes.train_tokens)):
        started = time.perf_counter()
        tokens_NL = packed_model.tokens_of(stage.pack, split)
        tokens_NL = tokens_NL[: max(1, most // tokens_NL.shape[1])]
        captured = model.capture(tokens_NL, HOOKPOINTS)
        for hookpoint, values_NLD in captured.items():
            values_TD = values_NLD[:, 1:].flatten(0, 1).to(torch.float16)
            np.save(stage.activations_path(split, hookpoint), values_TD.numpy())
        seconds = time.perf_counter() - started
        stage.note(
            split=split, tokens=tokens_NL.numel(), seconds=seconds, tokens_per_second=tokens_NL.numel() / seconds
        )


if __name__ == "__main__":
    main()
