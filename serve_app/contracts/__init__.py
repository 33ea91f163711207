"""The nouns that everyone shares. Imports nothing of the product but `strict` and `errors`."""
