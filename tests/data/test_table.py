import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError


def table_of(rows: list[tuple[int, Role]], classes: int = 8) -> ImageTable:
    return ImageTable(
        name="made",
        paths=tuple(f"{index}.jpg" for index in range(len(rows))),
        labels=np.array([label for label, _ in rows], dtype=np.int64),
        roles=np.array([role.value for _, role in rows], dtype=np.uint8),
        class_names=tuple(f"class {index}" for index in range(classes)),
    )


ROWS = st.lists(
    st.tuples(
        st.integers(0, 7), st.sampled_from([Role.TRAIN, Role.QUERY, Role.GALLERY, Role.TEST])
    ),
    min_size=1,
    max_size=40,
)


def test_columns_of_different_length_are_refused():
    with pytest.raises(DatasetError, match="differ in length"):
        ImageTable("made", ("a.jpg",), np.zeros(2, np.int64), np.ones(2, np.uint8), ("x",))


def test_a_label_without_a_name_is_refused():
    with pytest.raises(DatasetError, match="class names"):
        table_of([(3, Role.TRAIN)], classes=3)


def test_where_and_take():
    table = table_of([(0, Role.TRAIN), (1, Role.QUERY), (1, Role.GALLERY), (2, Role.TEST)])
    assert table.where(Role.QUERY).tolist() == [1, 3]
    assert table.where(Role.GALLERY).tolist() == [2, 3]
    assert table.where(Role.TEST).tolist() == [1, 2, 3]
    taken = table.take(np.array([3, 0]))
    assert taken.paths == ("3.jpg", "0.jpg")
    assert taken.labels.tolist() == [2, 0]


def test_sizes_say_query_and_gallery_only_where_they_differ():
    same = table_of([(0, Role.TRAIN), (1, Role.TEST), (1, Role.TEST)]).sizes()
    assert same == SplitSizes(1, 1, 1, 2, 2, 2)
    assert str(same) == "1 training images of 1 classes, 2 test images of 1 classes"
    apart = table_of([(0, Role.TRAIN), (1, Role.QUERY), (1, Role.GALLERY)]).sizes()
    assert "1 query and 1 gallery images" in str(apart)


@given(ROWS)
def test_compact_keeps_names_and_puts_training_classes_first(rows):
    table = table_of(rows)
    small = table.compact()
    names = [table.class_names[label] for label in table.labels]
    assert [small.class_names[label] for label in small.labels] == names
    assert set(small.labels) == set(range(len(small.class_names)))
    trained = set(small.labels[small.where(Role.TRAIN)])
    assert trained == set(range(len(trained)))


@given(ROWS)
def test_unmatched_is_what_a_double_loop_finds(rows):
    table = table_of(rows)
    expected = [
        i
        for i, (label, role) in enumerate(rows)
        if role & Role.QUERY
        and not any(
            other == label and how & Role.GALLERY and j != i for j, (other, how) in enumerate(rows)
        )
    ]
    assert table.unmatched().tolist() == expected


def test_single_image_classes():
    table = table_of([(0, Role.TRAIN), (2, Role.TEST), (2, Role.TEST), (5, Role.TEST)])
    assert table.single_image_classes().tolist() == [0, 5]
