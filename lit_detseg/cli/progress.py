"""A bar for long work on images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]  # images done, images in all


@contextmanager
def images_bar(title: str) -> Iterator[Progress | None]:
    """A bar with speed and time left on stderr; None where nobody looks at it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    class Speed(ProgressColumn):
        def render(self, task: Task) -> str:
            speed = task.speed or 0.0
            return f"{speed:.{0 if speed >= 10 else 1}f} images/s" if speed else ""

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Bars(*columns, Speed(), TimeRemainingColumn(), console=console, transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
