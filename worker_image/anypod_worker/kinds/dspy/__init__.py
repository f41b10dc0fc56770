"""Programs of kind ``dspy``. Only modules of this package import dspy."""
