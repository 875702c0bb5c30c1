"""The controls of `mssante check`: each gives findings as values; `mssante.cli.check` orders and prints them."""
