"""The kinds of content, one file each: how it is decoded, learned from and cut into a model's input."""
