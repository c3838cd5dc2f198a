from collections.abc import Iterator

import pytest

NOT_ABOUT_PAGES = {
    "test_endpoints",
    "test_evaluation",
    "test_extending",
    "test_guard",
    "test_guard_endpoint",
    "test_notebook",
    "test_resume",
    "test_tasks",
}


@pytest.fixture(scope="module", autouse=True)
def plots_are_not_drawn(request) -> Iterator[None]:
    """Pages of these modules are written without their plots, which take a quarter of the time.

    The pages of every verb are drawn by the other modules and by tests/unit/test_page.py.
    """
    if request.module.__name__.rpartition(".")[2] not in NOT_ABOUT_PAGES:
        yield
        return
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sirl.reports.plots.place_once", lambda _: None)
        patch.setattr(Figure, "savefig", lambda _, file, **__: file.write("<svg></svg>"))
        yield
