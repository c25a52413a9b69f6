"""Names of scans whose senders reuse a uid: unique, after a restart too, and for the longest uids."""

from dataclasses import replace

import numpy as np
import pytest
from stream_tools import make_header

from ptylive.streamer.tracking import names as module
from ptylive.streamer.tracking.names import ScanNames, compatible_headers, same_header
from ptylive.streamer.wire.limits import MAX_UID_LENGTH

NOBODY = {}.__contains__


def test_each_further_scan_of_a_uid_has_the_next_name():
    names = ScanNames()
    assert names.of("test") == "test"
    assert [names.again("test", NOBODY) for _ in range(2)] == ["test-again-2", "test-again-3"]
    assert names.of("test") == "test-again-3"
    assert names.newest("test", 2) == ["test-again-3", "test-again-2"]
    assert names.newest("test", 9)[-1] == "test"


def test_a_name_that_a_file_has_is_passed_over():
    assert ScanNames().again("test", {"test-again-2", "test-again-3"}.__contains__) == "test-again-4"


def test_what_an_earlier_run_recorded_is_known():
    names = ScanNames()
    assert names.learn("test-again-7") == "test"
    assert names.learn("test-again-3") == "test"
    assert names.again("test", NOBODY) == "test-again-8"


@pytest.mark.parametrize("name", ["-again-2", "test-again-", "test-again-two", "test-again-²", "test"])
def test_names_that_are_no_further_scan_stand_for_themselves(name):
    assert ScanNames().learn(name) == name


def test_the_longest_uid_still_has_names_of_its_own():
    names, uid = ScanNames(), "u" * MAX_UID_LENGTH
    made = [names.again(uid, NOBODY) for _ in range(12)]
    assert len(set(made)) == 12
    assert {len(name) for name in made} == {MAX_UID_LENGTH}


def test_a_uid_that_ends_like_a_further_name_is_a_uid():
    names = ScanNames()
    assert names.is_new("test-again-2", "test-again-2")
    assert names.of("test-again-2") == "test-again-2"
    again = names.again("test-again-2", NOBODY)
    assert again != "test-again-2"
    assert names.of("test-again-2") == again


def with_optics(header, **values):
    return replace(header, optics=header.optics.model_copy(update=values))


def test_headers_are_the_same_whatever_the_uid():
    header = make_header()
    assert same_header(header, replace(header, uid="another"))
    assert not same_header(header, with_optics(header, energy_eV=300e3))
    assert not same_header(header, replace(header, arrays={"bad_pixel_mask": np.zeros(header.detector_shape, bool)}))


def test_a_recording_may_know_more_than_its_sender_says_and_never_another_thing():
    stored = make_header()
    assert compatible_headers(stored, replace(with_optics(stored, energy_eV=None), series=""))
    assert compatible_headers(with_optics(stored, energy_eV=None), stored)
    assert compatible_headers(stored, with_optics(stored, energy_eV=80e3 * (1 + 1e-12))), "rounded on the way"
    assert not compatible_headers(stored, with_optics(stored, energy_eV=80.1e3))
    assert not compatible_headers(stored, replace(stored, frames=stored.frames + 1))
    assert not compatible_headers(stored, replace(stored, series="another"))


def test_uids_of_long_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    names = ScanNames()
    for uid in "abcd":
        names.again(uid, NOBODY)
    assert [names.of(uid) for uid in "abcd"] == ["a", "b-again-2", "c-again-2", "d-again-2"]
