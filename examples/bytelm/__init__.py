"""A small language model over bytes: the model, the text it reads, the way it reports."""
