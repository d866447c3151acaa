"""The public names of `import robustcsc`."""

import pkgutil

import robustcsc


def test_no_module_hides_a_public_name() -> None:
    """Importing `robustcsc.x` makes `x` an attribute of the package, whatever stood there before."""
    modules = {module.name for module in pkgutil.iter_modules(robustcsc.__path__)}
    assert {"reports", "session"} <= modules
    assert modules & set(robustcsc.__all__) == set()


def test_every_public_name_says_what_it_is() -> None:
    assert [name for name in robustcsc.__all__ if not getattr(robustcsc, name).__doc__] == []
