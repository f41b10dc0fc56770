"""What is done to AnyPod on purpose. A package, so that what its files share ends with them."""
