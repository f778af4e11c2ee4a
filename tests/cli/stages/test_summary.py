"""One row per stage: what its `run.json` says."""

from lit_detseg.cli.stages.summary import summary_row

FIRST = {"started": "2026-01-01T10:00:00+00:00", "ended": None}
LAST = {
    "started": "2026-01-01T11:00:00+00:00",
    "ended": "2026-01-02T11:30:00+00:00",
    "ended_at_step": 80_000,
    "best": {"monitor": "val/map", "score": 0.69912, "step": 70_000},
}


def test_times_of_attempts_are_added_up():
    assert summary_row("01_rpn", [LAST, LAST]) == (
        "01_rpn",
        "80,000",
        "2940.0",  # twice 24.5 hours
        "0.6991 val/map (step 70,000)",
    )


def test_an_attempt_that_was_killed_took_some_time():
    assert summary_row("01_rpn", [FIRST, LAST])[2] == "> 1470.0"


def test_a_stage_without_steps_or_score_has_none():
    ended = {**FIRST, "ended": "2026-01-01T10:03:00+00:00"}
    assert summary_row("02_boxes", [ended]) == ("02_boxes", "-", "3.0", "-")
