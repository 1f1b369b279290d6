import threading

from tests.eventually import eventually
from worker.attempt.inbox import Inbox


def filling(inbox: Inbox[int], count: int) -> threading.Thread:
    def fill() -> None:
        for number in range(count):
            inbox.put(number)
        inbox.end()

    thread = threading.Thread(target=fill)
    thread.start()
    return thread


class TestInbox:
    def test_hands_on_everything_in_order_and_then_is_over(self) -> None:
        inbox: Inbox[int] = Inbox(readers=1, room=4)
        reader = filling(inbox, 100)
        taken = [inbox.take(5) for _ in range(100)]
        reader.join(5)
        assert taken == list(range(100))
        assert inbox.is_over

    def test_holds_no_more_than_its_room(self) -> None:
        inbox: Inbox[int] = Inbox(readers=1, room=4)
        reader = filling(inbox, 100)
        eventually(lambda: len(inbox._items) == 4)
        assert [inbox.take(5), inbox.take(5)] == [0, 1]
        eventually(lambda: len(inbox._items) == 4)
        assert reader.is_alive()
        inbox.close()
        reader.join(5)

    def test_that_is_closed_holds_up_no_reader_and_keeps_nothing(self) -> None:
        inbox: Inbox[int] = Inbox(readers=1, room=1)
        reader = filling(inbox, 1000)
        inbox.close()
        reader.join(5)
        assert not reader.is_alive()
        assert inbox.is_over

    def test_is_over_only_when_every_reader_has_ended(self) -> None:
        inbox: Inbox[int] = Inbox(readers=2)
        inbox.end()
        assert inbox.take(0.01) is None
        assert not inbox.is_over
        inbox.end()
        assert inbox.is_over
