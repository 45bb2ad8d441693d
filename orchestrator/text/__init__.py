"""Text from any source as blocks of tokens, some of its documents held out."""
