"""What is wrong with the words on a command line, asked before the parser sees them.

The parser reads all the rest; what it would say of a mistake is a frame of many lines that names no field, and of two
flags of one name it takes the last without a word.
"""

import difflib
import re
import shlex
from collections.abc import Iterator, Sequence

from orchestrator.command_line.flags import Flag, flags_of
from orchestrator.command_line.values import check_value, wanted
from orchestrator.errors import UserError, shown

HELP = ("-h", "--help")
_DASHES = "-\u2010\u2012\u2013\u2014\u2212"  # a word processor makes others of two hyphens
_ELSEWHERE = {
    "hookpoint": ("layer", "layers", "hook-name", "hook-point", "module"),
    "expansion-factor": ("num-latents", "n-latents", "dict-size", "d-sae", "width"),
    "variant": ("architecture", "activation", "sae-type", "trainer"),
    "lr": ("learning-rate",),
    "batch-tokens": ("batch-size",),
    "train-tokens": ("steps", "epochs", "num-tokens", "max-tokens", "training-tokens"),
    "context-length": ("ctx-len", "context-size", "seq-len", "max-length"),
    "warmup-steps": ("lr-warmup-steps",),
    "dataset-split": ("split",),
    "storage": ("output-dir", "out-dir", "save-dir", "log-dir"),
    "gpus-per-trial": ("gpus", "device", "num-gpus"),
    "name": ("run-name",),
    "plan": ("dry-run",),
}
"""What flags are called in other programs that train sparse autoencoders."""
_NEGATIVE_NUMBER = re.compile(r"-(\d.*|\.\d.*|inf|infinity|nan)", re.IGNORECASE)


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether --help is among the words, whatever else is."""
    return any(word in HELP for word in argv)


def check_words(argv: Sequence[str], command: type) -> None:
    """Raises UserError for the first word that the flags of `command` have no use for."""
    flags = flags_of(command)
    spoken: dict[str, str] = {}
    loose: list[tuple[str, Flag | None]] = []
    groups = list(_groups(argv))
    for index, (option, values) in enumerate(groups):
        if option is None or option in HELP:
            loose += [(value, None) for value in values]
            continue
        flag = _flag(option, flags)
        typed = shlex.join([option, *values])
        if flag.name in spoken:
            raise UserError(f"{flag.name}: given twice, as {spoken[flag.name]} and as {typed}; {_once(flag, argv)}")
        spoken[flag.name] = typed
        takes = 0 if flag.kind is bool else len(values) if flag.many else 1
        if takes > len(values) or (flag.many and not values):
            raise UserError(
                f"{flag.name}: {option} needs {wanted(flag)} after it{_hyphen(option, groups[index:], flags)}"
            )
        for value in values[:takes]:
            check_value(flag, value, values)
        loose += [(value, flag) for value in values[takes:]]
    _check_loose(loose, flags)


def _groups(argv: Sequence[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Each flag as typed with the words after it that are no flags; None stands before the first."""
    option: str | None = None
    values: list[str] = []
    for index, word in enumerate(argv):
        if word == "--":
            yield option, values
            yield None, list(argv[index + 1 :])
            return
        if len(word) > 1 and word[0] in _DASHES and not _NEGATIVE_NUMBER.fullmatch(word):
            yield option, values
            option, attached, value = word.partition("=")
            values = [value] if attached else []
        else:
            values.append(word)
    yield option, values


def _hyphen(option: str, groups: Sequence[tuple[str | None, list[str]]], flags: Sequence[Flag]) -> str:
    """What to add for a flag without a value, where the word after it may have been the value."""
    after = groups[1][0] if len(groups) > 1 else None
    if after is None or _find(after, flags):
        return ""
    return f"; one that begins with a hyphen is typed {shlex.quote(f'{option}={after}')}"


def _find(option: str, flags: Sequence[Flag]) -> Flag | None:
    """The flag that was typed; hyphens and underscores are the same, as to the parser."""
    spelled = option.replace("_", "-")
    for flag in flags:
        if spelled == flag.option or (flag.kind is bool and spelled == f"--no-{flag.option[2:]}"):
            return flag
    return None


def _flag(option: str, flags: Sequence[Flag]) -> Flag:
    flag = _find(option, flags)
    if flag and flag.positional:
        raise UserError(f"{flag.name}: is given without {option}, as a word of its own")
    if flag:
        return flag
    near = _near(option, flags)
    hint = f"did you mean {' or '.join(near)}?" if near else "--help lists all"
    raise UserError(f"{shown(option, quoted=False)}: no such flag; {hint}")


def _near(word: str, flags: Sequence[Flag]) -> list[str]:
    """Flags that the word may have been meant for, the likeliest first."""
    key = word.lstrip(_DASHES).replace("_", "-").lower()
    names = [flag.option[2:] for flag in flags if not flag.positional]
    if exact := [name for name in names if name == key or key in _ELSEWHERE.get(name, ())]:
        return [f"--{exact[0]}"]
    if not re.search("[a-z]", key):
        return []
    shared = {name: len(set(name.split("-")) & set(key.split("-"))) for name in names}
    alike = {name: difflib.SequenceMatcher(None, key, name).ratio() for name in names}
    begun = [name for name in names if min(len(key), len(name)) > 1 and (name.startswith(key) or key.startswith(name))]
    close = begun or [name for name in names if alike[name] >= 0.75] or [name for name in names if shared[name]]
    return [f"--{name}" for name in sorted(close, key=lambda name: (-shared[name], -alike[name]))[:3]]


def _once(flag: Flag, argv: Sequence[str]) -> str:
    """What to type in place of a flag given twice."""
    if not flag.many:
        return "give it once"
    named = (flag.option, flag.option.replace("-", "_").replace("__", "--", 1))
    values = [value for option, found in _groups(argv) if option in named for value in found]
    return f"give its values after one flag: {shlex.join([flag.option, *dict.fromkeys(values)])}"


def _check_loose(loose: Sequence[tuple[str, Flag | None]], flags: Sequence[Flag]) -> None:
    """What no flag takes belongs to fields given by their place: a word each, the rest to a last that takes several."""
    places = [flag for flag in flags if flag.positional]
    if places and places[-1].many:  # it takes all that is left
        places += places[-1:] * (len(loose) - len(places))
    for flag, (word, _) in zip(places, loose, strict=False):
        check_value(flag, word, [word])
    for word, before in loose[len(places) :]:
        raise UserError(_surplus(word, before, flags))
    for flag in places[len(loose) :]:
        if flag.required:
            raise UserError(f"{flag.name}: is missing; --help says what it is")


def _surplus(word: str, before: Flag | None, flags: Sequence[Flag]) -> str:
    """What to say of a word that no flag takes; `before` is the flag it follows."""
    if before is not None and before.kind is bool:
        return f"{before.name} {shown(word)}: takes no value; give {before.option}, or --no-{before.option[2:]}"
    if any(flag.positional for flag in flags):
        return f"{shown(word)}: is one word too many; quote what has spaces"
    if meant := _meant(word, flags):
        return f"{shown(word)}: a value needs a flag before it; did you mean {meant}?"
    if before is None:
        return f"{shown(word)}: a value needs a flag before it; --help lists them"
    return f"{before.name} {shown(word)}: is one too many, {before.option} takes one value; quote what has spaces"


def _meant(word: str, flags: Sequence[Flag]) -> str:
    """What a word without a flag may have been meant for."""
    name, equals, value = word.partition("=")
    key = name.strip(_DASHES).replace("_", "-").lower()
    if not equals and (takers := [flag.option for flag in flags if key in flag.choices]):
        return " or ".join(f"{option} {key}" for option in takers)
    for flag in flags:
        if key == flag.option[2:]:
            return f"{flag.option} {value}".strip()
    return "--help" if key == "help" else ""
