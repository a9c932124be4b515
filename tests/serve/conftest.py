import pytest

import ibc_pyg
from tests.helpers.index_pictures import FINISHED_RUN, save_pictures


@pytest.fixture(scope="module")
def pictures_index(tmp_path_factory):
    """An index of 60 pictures of three classes, calibrated."""
    folder = tmp_path_factory.mktemp("served")
    save_pictures(folder / "photos", 60)
    with ibc_pyg.Index.build(FINISHED_RUN, folder / "photos", folder / "index") as index:
        index.calibrate()
        yield index
