"""Everything that runs on Ray or talks to MLflow, in rooms that stand in the order in which data passes through them.

    errors, atomic, names,
    redaction, saved             what every room may use
    command_line/                from the words on a command line to a dataclass
    language_models/             where a language model comes from, and reading activations out of it
    text/                        text from any source as blocks of tokens
    activations/                 shards of activations: computed once, kept, read by every trial
    grid/                        what will run, on what, and at what cost
    trials/                      one cell of the grid, from its first step to its result
    scores/                      what a trained coder is worth
    tracking/                    what MLflow is told, and reading it back
    comparison/                  trials beside each other: who is lower, and whether seeds bear it out
    figures/                     pictures from the records of trials
    driver/                      from a command line to a comparison
    toy/                         the synthetic hierarchy, a second driver

A room imports those above it, never those below; `make lint` holds it to that.
"""
