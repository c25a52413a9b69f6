"""``ptylive refine``: the progress it shows (its runs are in tests of presets and exit codes)."""

from shown_progress import Updates, progress

from ptylive.server.cli.commands.refine import show_progress


def test_a_trial_is_named_and_does_not_say_how_much_there_is_to_do():
    told = Updates()
    show_progress(told, progress("trial", epoch=0, epochs=1, message="trying 2 modes"))
    show_progress(told, progress("sweep", epoch=0, epochs=30))
    show_progress(told, progress("sweep", epoch=3, epochs=30, loss=0.25))
    assert told.updates == [(0, None, "trying 2 modes"), (0, 30, "sweep"), (3, 30, "sweep loss 0.25")]
