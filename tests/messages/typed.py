"""What a person types."""

from tests.messages.mistakes import Mistake, Place, mistake

MISTAKES: dict[str, Mistake] = {}


def typed(name: str, says: str, *words: str) -> None:
    """Enter what needs no preparation."""
    MISTAKES[name] = Mistake(lambda _: list(words), says)


SEVERAL = r"; several are separated by spaces, as in --\S+ 16 64"
typed("a flag twice", rf"k 16: --k is given twice; give it once{SEVERAL}", "--k", "4", "--k", "16")
typed(
    "a flag twice with both spellings",
    r"val_tokens 9: --val-tokens is given twice; .*",
    "--val_tokens",
    "8",
    "--val-tokens",
    "9",
)
typed("a list with commas", rf"k '4,16': must be a whole number{SEVERAL}", "--k", "4,16")
typed("a number with a point", rf"k '4\.0': must be a whole number{SEVERAL}", "--k", "4.0")
typed(
    "half an expansion factor",
    rf"expansion_factor '0\.5': must be a whole number{SEVERAL}",
    "--expansion-factor",
    "0.5",
)
typed("tokens as a power", r"train_tokens '1e6': must be a whole number", "--train-tokens", "1e6")
typed("a rate that is a word", r"lr 'fast': must be a number", "--lr", "fast")
typed("a rate below 0", r"lr -1\.0: must be a positive number", "--lr", "-1")
typed("a flag nobody knows", r"--kk: no such flag; did you mean --k\?; all are in --help", "--kk", "4")
typed("a flag in capitals", r"--K: no such flag; did you mean --k\?; all are in --help", "--K", "4")
typed("a flag with one dash", r"-k: no such flag; did you mean --k\?; all are in --help", "-k", "4")
typed(
    "a flag of another library",
    r"--lr-warmup-steps: no such flag; did you mean --warmup-steps\?; .*",
    "--lr-warmup-steps",
    "4",
)
typed("two values for one", r"storage 'a b': takes one value, quoted where it holds spaces", "--storage", "a", "b")
typed("no value", r"storage: needs a value", "--storage")
typed("no path", r"storage '': must be a path", "--storage=")
typed("a switch with a value", r"plan 'yes': takes no value; --plan alone switches", "--plan", "yes")
typed("a preset nobody knows", r"preset 'big': must be one of auto, laptop, paper", "--preset", "big")
typed("a variant nobody knows", r"variant 'mpp': allowed are topk, mp, .*", "--variant", "mpp")
typed("a number too large", r"k 9{20}: must be at most the number of latents, .*", "--k", "9" * 20)
typed(
    "a sweep that is elsewhere",
    r"resume 'mine': not in runs; there are .*; --storage says where to look",
    "--storage",
    "runs",
    "--resume",
    "mine",
)
typed(
    "TransformerLens' name of a layer",
    r"hookpoint 'blocks\.1\.hook_resid_post': .*; did you mean layers\.1\?",
    "--hookpoint",
    "blocks.1.hook_resid_post",
)
typed(
    "TransformerLens' name of an input",
    r"hookpoint 'blocks\.1\.hook_resid_pre': .*; did you mean layers\.1:in\?",
    "--hookpoint",
    "blocks.1.hook_resid_pre",
)
typed(
    "TransformerLens' name of an MLP",
    r"hookpoint 'blocks\.1\.hook_mlp_out': .*; did you mean layers\.1\.mlp\?",
    "--hookpoint",
    "blocks.1.hook_mlp_out",
)
typed(
    "the path within the model with its head",
    r"hookpoint 'model\.layers\.3': .*; did you mean layers\.3\?",
    "--hookpoint",
    "model.layers.3",
)
typed(
    "GPT-2's name of a layer",
    r"hookpoint 'transformer\.h\.3': .*; did you mean layers\.3\?",
    "--hookpoint",
    "transformer.h.3",
)
typed(
    "Pythia's name of a layer",
    r"hookpoint 'gpt_neox\.layers\.2': .*; did you mean layers\.2\?",
    "--hookpoint",
    "gpt_neox.layers.2",
)


@mistake(MISTAKES, r"'foo': no flag before it; every value follows its flag, see --help")
def a_word_before_all_flags(place: Place) -> list[str]:
    return ["foo"]


@mistake(MISTAKES, r"hookpoint 'layers\.99': .*")
def a_layer_beyond_the_last(place: Place) -> list[str]:
    return ["--hookpoint", "layers.99"]
