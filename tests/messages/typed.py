"""What a person types."""

from tests.messages.mistakes import Mistake, Place, mistake

MISTAKES: dict[str, Mistake] = {}


@mistake(MISTAKES, r"hookpoint 'layers\.99': .*")
def a_layer_beyond_the_last(place: Place) -> list[str]:
    return ["--hookpoint", "layers.99"]
