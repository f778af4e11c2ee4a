"""Jobs in processes: in order, bounded, and one that dies takes no other with it."""

import os
from dataclasses import dataclass

import pytest

from lit_detseg.data.verification.processes import AHEAD, run_jobs


@dataclass(frozen=True)
class Square:
    number: int

    def check(self):
        if self.number < 0:
            os._exit(1)
        return self.number**2


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_answers_come_in_order(workers):
    jobs = [Square(number) for number in range(20)]
    assert list(run_jobs(jobs, workers)) == [(job, job.number**2) for job in jobs]


def test_jobs_that_die_have_no_answer_and_others_have_theirs():
    numbers = [1, -1, 2, 3, -2, -3, 4, 5]
    answers = [answer for _, answer in run_jobs(map(Square, numbers), 2)]
    assert answers == [1, None, 4, 9, None, None, 16, 25]


def test_jobs_are_taken_as_they_are_needed():
    taken = []

    def jobs():
        for number in range(100):
            taken.append(number)
            yield Square(number)

    running = run_jobs(jobs(), 2)
    next(running)
    assert len(taken) == 2 * AHEAD
    running.close()


def test_errors_of_jobs_come_through():
    class Broken(Square):
        def check(self):
            return self.missing

    with pytest.raises(AttributeError, match="missing"):
        list(run_jobs([Broken(1)], 0))
