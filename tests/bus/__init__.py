"""The bus: one contract, run by every backend, and what is particular to each."""
