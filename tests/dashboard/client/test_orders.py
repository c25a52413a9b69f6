"""Questions and commands of a page, behind which a busy server may leave others waiting."""

from concurrent.futures import Future

from ptylive.dashboard.client.orders import Orders


class Sender:
    """Keeps what is sent; nothing is answered by itself."""

    def __init__(self):
        self.sent, self.futures = [], []

    def submit(self, command, **arguments):
        self.sent.append((command, arguments))
        self.futures.append(Future())
        return self.futures[-1]


def test_a_question_that_waits_to_be_sent_is_not_sent_twice():
    """Progress that is asked for every second piled up, and a click waited for half a minute."""
    sender, replies = Sender(), []
    orders = Orders(sender)
    for number in range(3):
        orders.ask("decide_status", lambda reply, number=number: replies.append((number, reply["state"])))
    orders.ask("runs", replies.append, of="another")
    orders.ask("runs", replies.append)
    assert sender.sent == [("decide_status", {}), ("runs", {"of": "another"}), ("runs", {})]
    sender.futures[0].set_result({"state": "running"})
    orders.collect()
    assert replies == [(0, "running"), (1, "running"), (2, "running")]


def test_a_question_that_is_being_answered_is_asked_again():
    """What it asks for may have changed since."""
    sender = Sender()
    orders = Orders(sender)
    orders.ask("scans", lambda reply: None)
    sender.futures[0].set_running_or_notify_cancel()
    orders.ask("scans", lambda reply: None)
    assert len(sender.sent) == 2


def test_a_question_after_a_command_is_not_answered_before_it():
    sender = Sender()
    orders = Orders(sender)
    orders.ask("estimates", lambda reply: None)
    orders.send("calibrate", "calibrated")
    orders.ask("estimates", lambda reply: None)
    assert [command for command, _ in sender.sent] == ["estimates", "calibrate", "estimates"]
