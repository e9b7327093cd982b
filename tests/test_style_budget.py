"""The style budget sees each kind of offence, and lets good code pass."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "style_budget.py"
GOOD = '''"""A module."""


def area(width: int, height: int) -> int:
    """Width times height."""
    if width < 0:
        raise ValueError(f"width is {width}, it must not be negative")
    return width * height
'''


@pytest.fixture(scope="module")
def style() -> ModuleType:
    """Load the script as a module."""
    spec = importlib.util.spec_from_file_location("style_budget", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["style_budget"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def over(style: ModuleType, folder: Path, code: str) -> list[str]:
    """Names of the figures that a file with this code passes."""
    (folder / "code.py").write_text(code)
    return [figure.name for figure in style.budget(style.modules([folder])) if not figure.good]


def test_good_code_passes(style: ModuleType, tmp_path: Path) -> None:
    """Short, typed, documented code is within every limit, and the exit code says so."""
    assert over(style, tmp_path, GOOD) == []
    assert style.main([str(tmp_path)]) == 0


BODY = "".join(f"    x = {n}\n" for n in range(61))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"{GOOD}# {'x' * 99}\n", {"line, longest"}),
        (
            f'{GOOD}\ndef long() -> None:\n    """Doc."""\n{BODY}',
            {"function, longest", "function, 90th percentile", "function, median"},
        ),
        (
            (
                f"{GOOD}\ndef wide(a: int, b: int, c: int, d: int, e: int, *f: int) -> int:\n"
                '    """Doc."""\n    return a\n'
            ),
            {"parameters, 90th percentile"},
        ),
        (GOOD + "x = 1\n" * 500, {"file, longest", "file, median"}),
        (GOOD.replace('"""A module."""', ""), {"modules with a docstring"}),
        (GOOD.replace('    """Width times height."""\n', ""), {"public names with a docstring"}),
        (GOOD.replace("height: int", "height"), {"functions typed throughout"}),
        (GOOD.replace(") -> int", ")"), {"functions typed throughout"}),
        (GOOD.replace("is {width}", "is bad"), {"errors that name a value"}),
        (
            GOOD.replace("area", "process_area"),
            {"names with handle, process, manager, utils"},
        ),
        (
            f'{GOOD}\nclass AreaManager:\n    """Doc."""\n',
            {"names with handle, process, manager, utils"},
        ),
        (GOOD + "# why\n" * 3, {"comments in 100 lines"}),
    ],
)
def test_each_offence_is_found(
    style: ModuleType, tmp_path: Path, code: str, expected: set[str]
) -> None:
    """Code that breaks one rule passes that limit and no other."""
    assert set(over(style, tmp_path, code)) == expected


def test_offences_are_listed_by_place(
    style: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1 and the output names file and line of what is over."""
    (tmp_path / "code.py").write_text(GOOD.replace("height: int", "height"))
    assert style.main([str(tmp_path)]) == 1
    assert f"{tmp_path}/code.py:4: area does not type height" in capsys.readouterr().out


def test_private_and_magic_names_need_no_docstring(style: ModuleType, tmp_path: Path) -> None:
    """Only names for use from outside count; a docstring is no part of a function's length."""
    code = GOOD + "\ndef _inner() -> int:\n    return 1\n"
    assert over(style, tmp_path, code) == []
    (module,) = style.modules([tmp_path])
    assert [style.function_lines(f) for f in module.functions()] == [4, 2]


def test_a_missing_folder_is_a_usage_error(style: ModuleType, tmp_path: Path) -> None:
    """A folder that is not there exits with 2, so that a typo never passes as good style."""
    assert style.main([str(tmp_path / "none")]) == 2
