"""Chance is named, not remembered."""

import itertools

import torch

from worker.sharpening.rng import generator, key


class TestKey:
    def test_every_part_of_the_name_counts(self) -> None:
        names = itertools.product((0, 1), (0, 1), (0, 1), ("t", "ε"), (0, 1))
        assert len({key(*name) for name in names}) == 32

    def test_is_the_same_for_ever(self) -> None:
        """Written down: a change here would change what every stored seed means."""
        assert key(0, 0, 0, "candidate") == 5206259611357418783


class TestGenerator:
    def test_draws_do_not_depend_on_what_was_drawn_before(self) -> None:
        torch.rand(3)
        first = torch.rand(2, generator=generator(1, 2, 3, "t"))
        assert torch.equal(first, torch.rand(2, generator=generator(1, 2, 3, "t")))
