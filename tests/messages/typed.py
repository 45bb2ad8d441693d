"""What a person types."""

import json

from tests.messages.mistakes import Mistake, Place, mistake

MISTAKES: dict[str, Mistake] = {}


@mistake(MISTAKES, r"expansion_factor 9000000: trial model-layers\.1-topk-\S+ needs some \d+ GB, and this .*")
def a_coder_that_no_machine_holds(place: Place) -> list[str]:
    return ["--expansion-factor", "9000000"]


VARIANTS = (
    "topk, mp, mp-tied, mp-sliced, mp-big-decoder, ito, omp, mp-uncentred, mp-study, "
    "mp-study-free-decoder, ito-study, ito-study-free-decoder, transcoder, sst, mp-transcoder, "
    "mp-transcoder-free-encoder, mp-transcoder-separate-subtraction, mp-transcoder-decoder-subtraction, "
    "mp-transcoder-ito"
)


def typed(name: str, words: list[str], says: str) -> None:
    """Enter a mistake that is made by its words alone."""
    MISTAKES[name] = Mistake(lambda place: words, says)


TOO_LARGE = str(10**30)

# --- flags ---

typed(
    "a_flag_twice",
    ["--k", "4", "--k", "16"],
    r"k: given twice, as --k 4 and as --k 16; give its values after one flag: --k 4 16",
)
typed(
    "a_flag_twice_in_two_spellings",
    ["--expansion-factor", "4", "--expansion_factor=16"],
    r"expansion_factor: given twice, .*: --expansion-factor 4 16",
)
typed(
    "a_flag_of_one_value_twice",
    ["--name", "a", "--name", "b"],
    r"name: given twice, as --name a and as --name b; give it once",
)
typed("a_switch_both_ways", ["--plan", "--no-plan"], r"plan: given twice, as --plan and as --no-plan; give it once")
typed("a_flag_in_capitals", ["--K", "4"], r"--K: no such flag; did you mean --k\?")
typed("a_flag_in_capitals_with_an_underscore", ["--Train_Tokens", "4"], r"--Train_Tokens: .* mean --train-tokens\?")
typed("one_hyphen", ["-k", "4"], r"-k: no such flag; did you mean --k\?")
typed("three_hyphens", ["---k", "4"], r"---k: no such flag; did you mean --k\?")
typed("a_dash_from_a_word_processor", ["—k", "4"], r"—k: no such flag; did you mean --k\?")
typed("two_dashes_of_two_kinds", ["–-k=4"], r"–-k: no such flag; did you mean --k\?")
typed("a_flag_in_the_plural", ["--hookpoints", "layers.1"], r"--hookpoints: no such flag; did you mean --hookpoint\?")
typed("a_flag_misspelt", ["--expantion-factor", "8"], r"--expantion-factor: .*; did you mean --expansion-factor\?")
typed("a_flag_cut_short", ["--expansion", "8"], r"--expansion: no such flag; did you mean --expansion-factor\?")
typed("the_long_name_of_a_short_flag", ["--learning-rate", "1e-3"], r"--learning-rate: .* did you mean --lr\?")
typed("a_flag_of_another_program", ["--num-tokens", "1000"], r"--num-tokens: .* did you mean --train-tokens\?")
typed("a_flag_of_sparsify", ["--ctx_len", "256"], r"--ctx_len: no such flag; did you mean --context-length\?")
typed("where_others_write", ["--output-dir", "x"], r"--output-dir: no such flag; did you mean --storage\?")
typed(
    "a_value_with_a_hyphen",
    ["--name", "-x"],
    r"name: --name needs a value after it; one that begins with a hyphen is typed --name=-x",
)
typed("numbers_with_a_comma_and_a_space", ["--k", "4,", "16"], r"k '4,': whole numbers are .*: --k 4 16")
typed("numbers_half_apart", ["--k", "4", "16,64"], r"k '16,64': whole numbers are separated by spaces: --k 4 16 64")
typed(
    "variants_in_quotes",
    ["--variant", "topk mp"],
    r"variant 'topk mp': did you mean topk mp, without quotes around them all\? allowed are .*",
)
typed("a_flag_nobody_has", ["--wandb-project", "mine"], r"--wandb-project: no such flag; --help lists all")
typed("a_flag_that_cannot_be_denied", ["--no-k"], r"--no-k: no such flag; did you mean --k\?")

# --- words without a flag ---

typed(
    "a_preset_without_its_flag",
    ["--plan", "--auxk-alpha", "0.1", "laptop"],
    r"'laptop': a value needs a flag before it; did you mean --scores laptop or --preset laptop\?",
)
typed("an_assignment", ["--auxk-alpha=0.1", "k=16"], r"'k=16': a value needs a flag before it; did you mean --k 16\?")
typed("help_as_a_word", ["--name", "a", "help"], r"'help': a value needs a flag before it; did you mean --help\?")
typed("a_name_of_two_words", ["--name", "my", "sweep"], r"name 'sweep': is one too many, --name takes one value; .*")
typed("two_values_for_one", ["--train-tokens", "100000", "200000"], r"train_tokens '200000': is one too many, .*")
typed("a_value_after_two_hyphens", ["--", "run"], r"'run': a value needs a flag before it; --help lists them")
typed("a_switch_with_a_value", ["--plan", "true"], r"plan 'true': takes no value; give --plan, or --no-plan")
typed(
    "a_switch_set_to_false",
    ["--exclude-first=False"],
    r"exclude_first 'False': takes no value; give --exclude-first, or --no-exclude-first",
)

# --- values that are not there ---

typed("no_value", ["--k"], r"k: --k needs whole numbers, separated by spaces after it")
typed("a_flag_for_a_value", ["--name", "--lr", "0.1"], r"name: --name needs a value after it")
typed("no_preset", ["--preset"], r"preset: --preset needs one of auto, laptop, paper after it")
for _field in ("storage", "tracking-uri", "dataset", "resume", "model", "hookpoint", "name", "k", "cache-dir"):
    typed(f"an_empty_{_field}", [f"--{_field}", ""], rf"{_field.replace('-', '_')} '': is empty; .*--{_field} out .*")
typed("an_empty_value_attached", ["--cache-dir="], r"cache_dir '': is empty; give a value, or leave --cache-dir out .*")

# --- numbers ---

typed("numbers_with_a_comma", ["--k", "4,16"], r"k '4,16': whole numbers are separated by spaces: --k 4 16")
typed("numbers_as_a_list", ["--k", "[4, 16]"], r"k '\[4, 16\]': whole numbers are separated by spaces: --k 4 16")
typed("numbers_in_quotes", ["--seed", "0 1"], r"seed '0 1': whole numbers are separated by spaces: --seed 0 1")
typed("a_range", ["--seed", "0..3"], r"seed '0\.\.3': must be whole numbers, separated by spaces")
typed("a_point_and_zero", ["--k", "4.0"], r"k '4\.0': must be whole numbers, separated by spaces; did you mean 4\?")
typed("half", ["--expansion-factor", "0.5"], r"expansion_factor '0\.5': must be whole numbers, separated by spaces")
typed("an_exponent", ["--train-tokens", "1e6"], r"train_tokens '1e6': must be a whole number; did you mean 1000000\?")
typed("thousands", ["--val-tokens", "1,000,000"], r"val_tokens .*: must be a whole number; did you mean 1000000\?")
typed("a_unit", ["--train-tokens", "1M"], r"train_tokens '1M': must be a whole number")
typed("a_decimal_comma", ["--auxk-alpha", "0,001"], r"auxk_alpha '0,001': must be a number; did you mean 0\.001\?")
typed("a_rate_with_a_comma", ["--lr", "0,001"], r"lr '0,001': must be numbers, .*; did you mean 0\.001\?")
typed("rates_with_a_comma", ["--lr", "0.1,0.2"], r"lr '0\.1,0\.2': numbers are separated by spaces: --lr 0\.1 0\.2")
typed("a_rate_twice", ["--lr", "0.1", "1e-1"], r"lr 0\.1: given twice, which would make duplicate cells")
typed("a_word_for_a_number", ["--gpus-per-trial", "all"], r"gpus_per_trial 'all': must be a number")
typed("a_negative_number", ["--k", "-4"], r"k -4: must be 1 or more")
typed("a_negative_rate", ["--lr", "-1e-3"], r"lr -0\.001: must be a positive number")
typed("minus_infinity", ["--lr", "-inf"], r"lr -inf: must be a positive number")
typed("a_number_beyond_all", ["--train-tokens", TOO_LARGE], r"train_tokens '10+': is too large; must be below 2\*\*63")
typed("more_retries_than_can_be_counted", ["--max-failures", TOO_LARGE], r"max_failures '10+': is too large; .*")
typed("a_number_of_5000_digits", ["--k", "9" * 5000], r"k '9{60}…': must be whole numbers, separated by spaces")
typed("a_value_of_two_lines", ["--k", "4\n16"], r"k '4\\n16': whole numbers are separated by spaces: --k 4 16")

# --- names ---

typed("a_variant_that_is_none", ["--variant", "gated"], rf"variant 'gated': allowed are {VARIANTS}")
typed("a_variant_in_capitals", ["--variant", "TopK"], rf"variant 'TopK': did you mean topk\? allowed are {VARIANTS}")
typed("a_variant_misspelt", ["--variant", "mp-slice"], r"variant 'mp-slice': did you mean mp-sliced\? allowed .*")
typed(
    "variants_with_a_comma",
    ["--variant", "topk,mp"],
    r"variant 'topk,mp': several values are separated by spaces: --variant topk mp",
)
typed("models_with_a_comma", ["--model", "packaged,small-llama"], r"model .*: several .* --model packaged small-llama")
typed("a_preset_that_is_none", ["--preset", "gpu"], r"preset 'gpu': allowed are auto, laptop, paper")
typed("a_preset_in_capitals", ["--preset", "Laptop"], r"preset 'Laptop': did you mean laptop\? allowed are .*")
typed(
    "a_type_that_is_none",
    ["--shard-dtype", "bfloat16"],
    r"shard_dtype 'bfloat16': did you mean float16\? allowed are float16, float32",
)
typed(
    "a_server_without_its_scheme",
    ["--tracking-uri", "localhost:5000"],
    r"tracking_uri 'localhost:5000': must be the address of a server, such as http://localhost:5000, .*",
)
typed("a_directory_for_a_server", ["--tracking-uri", "mlruns"], r"tracking_uri 'mlruns': must be the address of .*")

# --- resuming ---

typed(
    "a_sweep_that_is_not_there",
    ["--resume", "gone"],
    r"resume 'gone': not in .*/runs, where there are none; a sweep that is elsewhere needs --storage DIR",
)
typed(
    "a_path_of_nothing",
    ["--resume", "runs/gone"],
    r"resume 'runs/gone': must be a name, not a path; its directory is named by --storage",
)


def _sweep(place: Place, name: str) -> None:
    (place.path / "elsewhere" / name).mkdir(parents=True)
    (place.path / "elsewhere" / name / "sweep.json").write_text(json.dumps({}), encoding="utf-8")


@mistake(MISTAKES, r"resume '.*/elsewhere/night': .*; type --storage '?/.*/elsewhere'? --resume night")
def a_path_of_a_sweep(place: Place) -> list[str]:
    _sweep(place, "night")
    return ["--resume", str(place.path / "elsewhere" / "night")]


@mistake(MISTAKES, r"resume 'nihgt': not in .*/elsewhere, where there are night; did you mean night\? a sweep .*")
def a_sweep_misspelt(place: Place) -> list[str]:
    _sweep(place, "night")
    return ["--storage", str(place.path / "elsewhere"), "--resume", "nihgt"]


typed(
    "a_preset_on_resuming",
    ["--resume", "night", "--preset", "paper"],
    r"preset 'paper': cannot be given with --resume, the sweep keeps its own values",
)


# --- hookpoints ---

typed("a_layer_beyond_the_last", ["--hookpoint", "layers.99"], r"hookpoint 'layers\.99': .* closest are layers\.3,.*")
typed("transformerlens", ["--hookpoint", "blocks.1.hook_resid_post"], r"hookpoint .*: .*; did you mean layers\.1\?")
typed("transformerlens_input", ["--hookpoint", "blocks.1.hook_resid_pre"], r"hookpoint .*; did you mean layers\.1:in\?")
typed("a_path_in_the_whole_model", ["--hookpoint", "model.layers.3"], r"hookpoint .*; did you mean layers\.3\?")
typed("a_path_in_a_gpt2", ["--hookpoint", "transformer.h.3"], r"hookpoint .*; did you mean layers\.3\?")
typed("a_path_in_a_gpt_neox", ["--hookpoint", "gpt_neox.layers.2"], r"hookpoint .*; did you mean layers\.2\?")
typed("a_hookpoint_in_capitals", ["--hookpoint", "Layers.1.MLP"], r"hookpoint .*; did you mean layers\.1\.mlp\?")
typed("the_last_layer_as_minus_one", ["--hookpoint", "layers.-1"], r"hookpoint .*; did you mean layers\.3\?")
typed("a_layers_number", ["--hookpoint", "2"], r"hookpoint '2': .*; did you mean layers\.2\?")
typed("the_head", ["--hookpoint", "lm_head"], r"hookpoint 'lm_head': the head is outside the base model, .*")
typed(
    "hookpoints_with_a_comma",
    ["--hookpoint", "layers.1,layers.2"],
    r"hookpoint .*: several values are separated by spaces: --hookpoint layers\.1 layers\.2",
)
typed("hookpoints_in_quotes", ["--hookpoint", "layers.1 layers.2"], r"hookpoint .*: .* without quotes around them all")
typed("braces_in_quotes", ["--hookpoint", "layers.{1,2}"], r"hookpoint .*: wildcards are \*, \? and \[\.\.\.\], not .*")
typed("none_to_resume", ["--resume", "None"], r"resume 'None': is no name; leave --resume out for none")
typed(
    "a_split_without_its_dataset",
    ["--dataset-split", "validation"],
    r"dataset_split 'validation': python-docs has none; give the dataset that it belongs to, --dataset",
)
typed("a_scorer_without_an_llm", ["--scorer", "fuzz"], r"scorer 'fuzz': needs an LLM; name one with --explainer")
typed(
    "an_llm_without_an_address",
    ["--explainer", "openai:localhost:8000"],
    r"explainer 'openai:localhost:8000': must have an address, such as openai:http://localhost:8000/v1",
)
typed("an_llm_that_is_none", ["--explainer", "gpt-5"], r"explainer 'gpt-5': allowed are openai:URL .*")
typed(
    "a_directory_as_mlflow_had_them",
    ["--tracking-uri", "file:///tmp/mlruns"],
    r"tracking_uri 'file:.*': must be the .*",
)
typed(
    "a_server_without_a_host",
    ["--tracking-uri", "http://"],
    r"tracking_uri 'http://': must be the address of a server, .*",
)
