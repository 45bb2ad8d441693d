"""Names and paths that something else has to take: a file system, a database, a line of text."""

import os
import shutil
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

from tests.messages.mistakes import Mistake, Place, mistake

MISTAKES: dict[str, Mistake] = {}


def another_model(place: Place, name: str, **changes: int) -> Path:
    """The tiny model in another shape."""
    directory = place.path / name
    LlamaForCausalLM(LlamaConfig.from_pretrained(place.tiny_model, **changes)).save_pretrained(directory)
    for file in place.tiny_model.glob("*token*"):
        shutil.copy(file, directory)
    return directory


@mistake(MISTAKES, r"name 'x{20}'\.\.\.: has 300 bytes; file systems take 255")
def a_name_too_long_for_a_file(place: Place) -> list[str]:
    return ["--name", "x" * 300]


@mistake(MISTAKES, r"name 'é{20}'\.\.\.: has 256 bytes; file systems take 255")
def a_name_too_long_in_bytes_only(place: Place) -> list[str]:
    return ["--name", "é" * 128]


@mistake(MISTAKES, r"name 'a/b': must be a plain directory name")
def a_name_with_a_slash(place: Place) -> list[str]:
    return ["--name", "a/b"]


@mistake(MISTAKES, r"name '\.\.': must be a plain directory name")
def a_name_of_the_directory_above(place: Place) -> list[str]:
    return ["--name", ".."]


@mistake(MISTAKES, r"name '\.hidden': must be a plain directory name")
def a_name_that_hides(place: Place) -> list[str]:
    return ["--name", ".hidden"]


@mistake(MISTAKES, r"name '  ': must be a plain directory name")
def a_name_of_spaces(place: Place) -> list[str]:
    return ["--name", "  "]


@mistake(MISTAKES, r"name 'two\\nlines': has a control character; rename it, or give a link to it")
def a_name_of_two_lines(place: Place) -> list[str]:
    return ["--name", "two\nlines"]


@mistake(MISTAKES, r"name 'a\\x00b': has a control character; .*")
def a_name_with_a_nul(place: Place) -> list[str]:
    return ["--name", "a\0b"]


@mistake(MISTAKES, r"name 'caf\\udce9': is not UTF-8; rename it, or give a link to it")
def a_name_in_latin1(place: Place) -> list[str]:
    return ["--name", os.fsdecode(b"caf\xe9")]


@mistake(MISTAKES, r"name 'mlflow\.db': what all sweeps share is kept under it; take another")
def the_name_of_the_database(place: Place) -> list[str]:
    return ["--name", "mlflow.db"]


@mistake(MISTAKES, r"name 'tokens': what all sweeps share is kept under it; take another")
def the_name_of_the_tokens(place: Place) -> list[str]:
    return ["--name", "tokens"]


@mistake(MISTAKES, r"name 'notes': exists in .*; it is no sweep; take another")
def the_name_of_a_directory_that_is_no_sweep(place: Place) -> list[str]:
    (place.path / "runs" / "notes").mkdir(parents=True)
    return ["--name", "notes"]


@mistake(MISTAKES, r"storage '.*/a\\nb': has a control character; rename it, or give a link to it")
def a_storage_of_two_lines(place: Place) -> list[str]:
    return ["--storage", str(place.path / "a\nb")]


@mistake(MISTAKES, r"storage '.*/caf\\udce9': is not UTF-8; rename it, or give a link to it")
def a_storage_in_latin1(place: Place) -> list[str]:
    return ["--storage", str(place.path / os.fsdecode(b"caf\xe9"))]


@mistake(MISTAKES, r"storage '.*/x\?token=\*\*\*': reads like a secret, and is blanked in what is logged; rename it")
def a_storage_that_reads_like_a_secret(place: Place) -> list[str]:
    return ["--storage", str(place.path / "x?token=abc")]


@mistake(MISTAKES, r"storage 's3://\.\.\.': has a user or a secret in it, .*; leave it to the environment")
def a_storage_with_keys_in_its_address(place: Place) -> list[str]:
    return ["--storage", "s3://AKIA0123:very/secret@bucket/sweeps"]


@mistake(MISTAKES, r"storage 's3://\.\.\.': has a user or a secret in it, .*; leave it to the environment")
def a_sweep_to_resume_from_an_address_with_keys(place: Place) -> list[str]:
    return ["--storage", "s3://AKIA0123:secret@bucket/sweeps", "--resume", "there"]


@mistake(MISTAKES, r"storage 'hdfs://sweeps/ours': names no host with its port; hdfs://HOST:PORT/PATH does, .*")
def a_storage_whose_host_is_left_out(place: Place) -> list[str]:
    return ["--storage", "hdfs:///sweeps/ours"]


@mistake(MISTAKES, r"name 'x\?token=\*\*\*': reads like a secret, and is blanked in what is logged; rename it")
def a_name_that_reads_like_a_secret(place: Place) -> list[str]:
    return ["--name", "x?token=abc"]


@mistake(MISTAKES, r"model '.*/llama\?token=\*\*\*': reads like a secret, and is blanked in what is logged; rename it")
def a_model_that_reads_like_a_secret(place: Place) -> list[str]:
    return ["--model", str(shutil.copytree(place.tiny_model, place.path / "llama?token=abc"))]


@mistake(
    MISTAKES, r"MLFLOW_TRACKING_URI 'localhost:5000': must be the address of a server, such as http://localhost:.*"
)
def an_exported_server_without_a_scheme(place: Place) -> list[str]:
    place.patch.setenv("MLFLOW_TRACKING_URI", "localhost:5000")
    return []


@mistake(MISTAKES, r"storage '.*/x{300}': cannot be a directory \(File name too long\)")
def a_storage_too_long_for_a_file(place: Place) -> list[str]:
    return ["--storage", str(place.path / ("x" * 300))]


@mistake(MISTAKES, r"storage '\.\.\.x{20}': its path has \d{4} bytes; SQLite takes 494")
def a_storage_too_deep_for_the_database(place: Place) -> list[str]:
    return ["--storage", str(place.path.joinpath(*["x" * 250] * 5))]


@mistake(MISTAKES, r"storage '.*/circle': cannot be a directory \(.*\)")
def a_storage_that_links_to_itself(place: Place) -> list[str]:
    (place.path / "circle").symlink_to("circle")
    return ["--storage", str(place.path / "circle")]


@mistake(MISTAKES, r"storage '.*/gone/runs': cannot be a directory \(.*\)")
def a_storage_below_a_link_to_nowhere(place: Place) -> list[str]:
    (place.path / "gone").symlink_to("nowhere")
    return ["--storage", str(place.path / "gone" / "runs")]


@mistake(MISTAKES, r"model '.*/circle': .*")
def a_model_that_links_to_itself(place: Place) -> list[str]:
    (place.path / "circle").symlink_to("circle")
    return ["--model", str(place.path / "circle")]


@mistake(MISTAKES, r"resume 'circle': not in .*, where there are none; .*")
def a_sweep_to_resume_that_links_to_itself(place: Place) -> list[str]:
    (place.path / "runs").mkdir()
    (place.path / "runs" / "circle").symlink_to("circle")
    return ["--resume", "circle"]


@mistake(MISTAKES, r"storage '.*/file': cannot be a directory \(.*\)")
def a_storage_that_is_a_file(place: Place) -> list[str]:
    (place.path / "file").touch()
    return ["--storage", str(place.path / "file")]


@mistake(MISTAKES, r"cache_dir '.*/a\\tb': has a control character; .*")
def a_cache_with_a_tabulator(place: Place) -> list[str]:
    return ["--cache-dir", str(place.path / "a\tb")]


@mistake(MISTAKES, r"model '.*/mod\\udce9l': is not UTF-8; .*")
def a_model_in_latin1(place: Place) -> list[str]:
    return ["--model", str(place.path / os.fsdecode(b"mod\xe9l"))]


@mistake(MISTAKES, r"model '.*/x{300}': .*File name too long.*")
def a_model_too_long_for_a_file(place: Place) -> list[str]:
    return ["--model", str(place.path / ("x" * 300))]


@mistake(MISTAKES, r"dataset '.*/caf\\udce9\.txt': is not UTF-8; .*")
def a_dataset_in_latin1(place: Place) -> list[str]:
    return ["--dataset", str(place.path / os.fsdecode(b"caf\xe9.txt"))]


@mistake(MISTAKES, r"resume 'x{300}': not in .*, where there are none; .*")
def a_name_to_resume_that_is_too_long(place: Place) -> list[str]:
    return ["--resume", "x" * 300]


@mistake(MISTAKES, r"resume '': is empty; .*")
def no_name_to_resume(place: Place) -> list[str]:
    return ["--resume", ""]


@mistake(MISTAKES, r"resume 'a\\nb': has a control character; .*")
def a_name_to_resume_of_two_lines(place: Place) -> list[str]:
    return ["--resume", "a\nb"]


@mistake(MISTAKES, r"model '.*/model/': is the same directory as '.*/model'")
def one_model_twice(place: Place) -> list[str]:
    return ["--model", str(place.tiny_model), f"{place.tiny_model}/"]


@mistake(
    MISTAKES,
    r"hookpoint 'layers\.3': .*; the closest are .*; that is model '.*/small', and every trial must fit all models",
)
def a_hookpoint_of_one_model_of_two(place: Place) -> list[str]:
    small = another_model(place, "small", num_hidden_layers=2)
    return ["--model", str(place.tiny_model), str(small), "--hookpoint", "layers.1", "layers.3"]


@mistake(
    MISTAKES,
    r"variant 'mp-transcoder': needs as many inputs as outputs, and 'layers\.1\.mlp\.up_proj' has 32 and 64; "
    r"that is model '.*/model', and every trial must fit all models",
)
def a_transcoder_that_fits_one_model_of_two(place: Place) -> list[str]:
    square = another_model(place, "square", intermediate_size=32)
    return [
        "--model", str(square), str(place.tiny_model), "--variant", "mp-transcoder",
        "--hookpoint", "layers.1.mlp.up_proj",
    ]  # fmt: skip


@mistake(MISTAKES, r"storage '~/runs of mine': a shell replaces ~ only where it begins a word; give /.*/runs of mine")
def a_tilde_after_an_equals_sign(place: Place) -> list[str]:
    """Otherwise a directory named ~ would be made."""
    return ["--storage=~/runs of mine"]


@mistake(MISTAKES, r"dataset '~/texts\.jsonl': a shell replaces ~ only where it begins a word; give /.*/texts\.jsonl")
def a_tilde_between_quotes(place: Place) -> list[str]:
    return ["--dataset", "~/texts.jsonl"]


@mistake(MISTAKES, r"model '~/model': a shell replaces ~ only where it begins a word; give /.*/model")
def a_model_at_home(place: Place) -> list[str]:
    return ["--model=~/model"]
