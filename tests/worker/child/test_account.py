from dataclasses import asdict

import pytest
import torch

from worker.child.account import Account, Hardware, hardware_of


class TestAccount:
    def test_comes_back_as_it_was_written(self) -> None:
        account = Account(12.5, True, 0.25, None, 20, 0.25, Hardware("cpu: a", 2, "2.13.0"))
        assert Account.read(asdict(account)) == account
        assert Account.read({}) == Account()

    def test_of_a_later_release_is_read_as_far_as_it_is_known(self) -> None:
        assert Account.read({"seconds": 3.0, "weather": "rain"}) == Account(seconds=3.0)

    def test_the_best_checkpoint_is_the_one_with_the_highest_smoothed_reward(self) -> None:
        """One lucky batch is not the best checkpoint."""
        account = Account()
        for step, reward in enumerate([0.1, 0.5, 0.5, 0.5, 0.5, 0.0], start=1):
            account = account.after_step(reward).after_checkpoint(step)
        assert account.best_step == 5
        assert account.best_score == pytest.approx(0.5 - 0.4 * 0.9**4)

    def test_where_there_is_a_validation_it_decides(self) -> None:
        account = Account(validated=0.3).after_step(0.1).after_checkpoint(1)
        account = Account.read(asdict(account) | {"validated": 0.2}).after_step(0.9).after_checkpoint(2)
        assert (account.best_step, account.best_score) == (1, 0.3)

    def test_a_method_that_judges_no_pictures_has_no_best(self) -> None:
        assert Account().after_step(None).after_checkpoint(3) == Account()


def test_hardware_is_told_apart_by_what_changes_bits() -> None:
    here = hardware_of(torch.device("cpu"))
    assert here.device.startswith("cpu: ")
    assert torch.backends.cpu.get_cpu_capability() in here.device
    assert (here.threads, here.torch) == (torch.get_num_threads(), torch.__version__)
