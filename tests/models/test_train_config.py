"""What a training may be asked for."""

import pytest

from models.training import TrainConfig

BAD_CONFIGS = {
    "steps": ({"steps": 0}, "steps 0: must be 1 or more"),
    "micro_batch_tokens": ({"micro_batch_tokens": -5}, "micro_batch_tokens -5: must be 1 or more"),
    "dead_window_tokens": ({"dead_window_tokens": 0}, "dead_window_tokens 0: must be 1 or more"),
    "warmup-too-long": (
        {"steps": 50, "warmup_steps": 50},
        "warmup_steps 50: must be from 0 to below the 50 steps of a run",
    ),
    "warmup-negative": ({"warmup_steps": -1}, "warmup_steps -1: must be from 0 to below the 200 steps of a run"),
    "lr-zero": ({"lr": 0.0}, r"lr 0\.0: must be a positive number"),
    "lr-nan": ({"lr": float("nan")}, "lr nan: must be a positive number"),
    "lr-infinite": ({"lr": float("inf")}, "lr inf: must be a positive number"),
    "auxk_alpha-negative": ({"auxk_alpha": -0.1}, r"auxk_alpha -0\.1: must be 0 or a positive number"),
    "steps-text": ({"steps": "10"}, "steps '10': must be a whole number"),
    "steps-none": ({"steps": None}, "steps None: must be a whole number"),
    "warmup-fraction": ({"warmup_steps": 2.5}, r"warmup_steps 2\.5: must be a whole number"),
    "micro_batch_tokens-fraction": ({"micro_batch_tokens": 2.5}, r"micro_batch_tokens 2\.5: must be a whole number"),
    "dead_window_tokens-true": ({"dead_window_tokens": True}, "dead_window_tokens True: must be a whole number"),
    "lr-text": ({"lr": "1e-3"}, "lr '1e-3': must be a positive number"),
    "auxk_alpha-none": ({"auxk_alpha": None}, "auxk_alpha None: must be 0 or a positive number"),
    "auxk_alpha-nan": ({"auxk_alpha": float("nan")}, "auxk_alpha nan: must be 0 or a positive number"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_bad_config_values_are_named_with_what_is_allowed(case):
    config, message = BAD_CONFIGS[case]
    with pytest.raises(ValueError, match=f"^{message}$"):
        TrainConfig(**({"steps": 200} | config))
