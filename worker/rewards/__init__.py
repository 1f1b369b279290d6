"""One file per reward; `make` turns the recipe's word into the function."""
