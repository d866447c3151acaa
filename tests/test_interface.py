"""The public names of `import robustcsc`."""

import doctest
import pkgutil

import robustcsc


def examples_of(named: object) -> list[doctest.Example]:
    """Returns the examples in the docstring of a class or function, without those of its methods."""
    return doctest.DocTestParser().get_examples(named.__doc__ or "")


def test_no_module_hides_a_public_name() -> None:
    """Importing `robustcsc.x` makes `x` an attribute of the package, whatever stood there before."""
    modules = {module.name for module in pkgutil.iter_modules(robustcsc.__path__)}
    assert {"reports", "session"} <= modules
    assert modules & set(robustcsc.__all__) == set()


def test_every_public_name_shows_its_use() -> None:
    """`test_doctests` runs the examples."""
    assert len(robustcsc.__all__) > 15
    assert [name for name in robustcsc.__all__ if not examples_of(getattr(robustcsc, name))] == []


def test_a_class_with_an_example_in_a_method_only_shows_none() -> None:
    class Silent:
        """Says nothing."""

        def speak(self) -> None:
            """Speaks.

            >>> 1 + 1
            2
            """

    assert examples_of(Silent) == []
    assert len(examples_of(Silent.speak)) == 1
