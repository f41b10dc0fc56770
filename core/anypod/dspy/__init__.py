"""What a program of kind ``dspy`` is, without dspy: the gateway checks it, an executor runs it.

No text of a client ever reaches a parser of DSPy's own, which imports modules that a signature
names. Types and string signatures are read here, from a syntax tree, against a list of what there
is; nothing is run and nothing is imported.
"""
