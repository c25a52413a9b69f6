"""Distribution of patterns among threads."""

import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from ptylive.engine.backend.shares import Shares, linear_algebra_on


@pytest.mark.parametrize(("threads", "count"), [(0, 1), (1, 1), (3, 3)])
def test_each_share_once_and_in_order(threads, count):
    shares = Shares(threads)
    assert shares.count == count
    found = shares.each(lambda share, number: (number, share.tolist()), np.arange(7)[::-1])
    shares.close()
    assert [number for number, _ in found] == list(range(count))
    assert [pattern for _, share in found for pattern in share] == list(range(7))[::-1]


def test_threads_work_at_the_same_time():
    shares, met = Shares(2), threading.Barrier(2, timeout=30)
    shares.each(lambda share, number: met.wait(), np.arange(2))
    shares.close()


def test_what_goes_wrong_in_a_share_is_raised():
    shares = Shares(2)
    with pytest.raises(ZeroDivisionError):
        shares.each(lambda share, number: 1 // number, np.arange(4))
    shares.close()


def blas():
    return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]


@pytest.mark.parametrize(("before", "asked", "within"), [(2, 1, 1), (2, 8, 2), (1, 2, 1)])
def test_linear_algebra_takes_no_more_threads_than_are_asked_for(before, asked, within):
    with ThreadpoolController().limit(limits=before, user_api="blas"):
        with linear_algebra_on(asked):
            assert set(blas()) == {within}
        assert set(blas()) == {before}


def test_of_several_limits_the_least_holds_until_all_have_ended():
    with ThreadpoolController().limit(limits=3, user_api="blas"):
        first, second = linear_algebra_on(1), linear_algebra_on(2)
        first.__enter__()
        second.__enter__()
        assert set(blas()) == {1}
        first.__exit__(None, None, None)
        assert set(blas()) == {2}
        second.__exit__(None, None, None)
        assert set(blas()) == {3}
