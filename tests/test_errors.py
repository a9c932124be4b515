import pytest

from ibc_pyg.errors import ConfigError, accepted_arguments, check_arguments, did_you_mean


class Base:
    def __init__(self, width, *, depth=1):
        pass


class Middle(Base):
    pass


class Derived(Middle):
    def __init__(self, margin=0.1, **kwargs):
        super().__init__(**kwargs)


class Open:
    def __init__(self, **kwargs):
        pass


def loader(root, /, seed, *rest, fraction=0.5):
    pass


def test_arguments_behind_kwargs_are_those_of_the_base_class():
    assert accepted_arguments(Derived) == {"margin", "width", "depth"}
    assert accepted_arguments(Middle) == {"width", "depth"}


def test_positional_only_and_variadic_arguments_are_not_names():
    assert accepted_arguments(loader) == {"seed", "fraction"}


def test_unresolved_kwargs_accept_any_name():
    assert accepted_arguments(Open) is None
    check_arguments(Open, {"anything": 1}, what="args")
    with pytest.raises(ConfigError, match="no argument 'width'"):
        check_arguments(Open, {"width": 1}, what="args", reserved=["width"])


def test_unknown_argument_is_named_with_the_closest():
    check_arguments(Derived, {"margin": 1, "depth": 2}, what="args")
    with pytest.raises(
        ConfigError, match=r"^args: Derived has no argument 'margn'; did you mean margin\?$"
    ):
        check_arguments(Derived, {"margn": 1}, what="args: Derived")


def test_reserved_argument_is_refused_and_not_suggested():
    with pytest.raises(ConfigError, match="no argument 'seed'; choose one of fraction"):
        check_arguments(loader, {"seed": 1}, what="args", reserved=["seed"])
    with pytest.raises(ConfigError, match="no argument 'a'; it takes none"):
        check_arguments(loader, ["a"], what="args", reserved=["seed", "fraction"])


def test_close_names_come_first_and_otherwise_all():
    assert did_you_mean("Cubs", ["cub", "omniglot"]) == "did you mean cub?"
    assert did_you_mean("zzz", ["cub", "cars"]) == "choose one of cub, cars"
    assert did_you_mean("zzz", ["cub"], otherwise="list them") == "list them"
