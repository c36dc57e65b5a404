"""Finding, importing and judging the user's module."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from polytrainer.executors import user_code
from polytrainer.executors.errors import UserCodeError

pytestmark = pytest.mark.unit

RUN_FN = "def run_fn(fn_args):\n    return 'ran'\n"


def load(**exec_properties):
    """Imports the user's code and leaves it again."""
    with user_code.imported(user_code.locate(exec_properties)) as code:
        return code


def wheel(tmp_path: Path, **modules: str) -> str:
    path = tmp_path / f"{'_'.join(modules)}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in modules.items():
            archive.writestr(f"{name}.py", source)
    return str(path)


def test_a_module_file_with_run_fn(module_file):
    code = load(module_file=module_file(RUN_FN))
    assert code.kind == "run_fn"
    assert code.function(None) == "ran"


def test_a_module_file_with_trainer_fn(module_file):
    assert load(module_file=module_file("def trainer_fn(fn_args, schema): ...\n")).kind == "trainer_fn"


def test_run_fn_is_preferred_where_there_are_both(module_file):
    source = RUN_FN + "def trainer_fn(fn_args, schema): ...\n"
    assert load(module_file=module_file(source)).kind == "run_fn"


def test_a_function_of_another_name_in_a_module_file(module_file):
    code = load(module_file=module_file("def train(fn_args):\n    return 'trained'\n"), run_fn="train")
    assert code.function(None) == "trained"


def test_a_packaged_module(tmp_path):
    path = wheel(tmp_path, packaged_module=RUN_FN)
    assert load(module_path=f"packaged_module@{path}").function(None) == "ran"


@pytest.mark.parametrize(("kind", "source"), [("run_fn", "(fn_args)"), ("trainer_fn", "(fn_args, schema)")])
def test_a_dotted_path_into_an_installed_package(tmp_path, monkeypatch, kind, source):
    (tmp_path / f"installed_{kind}.py").write_text(f"def mine{source}:\n    return 'installed'\n")
    monkeypatch.syspath_prepend(tmp_path)
    code = load(**{kind: f"installed_{kind}.mine"})
    assert code.kind == kind
    assert list(code.location.sources) == [f"installed_{kind}.py"]


def test_siblings_can_be_imported_late_while_the_code_runs(module_file):
    path = module_file(
        "def run_fn(fn_args):\n    import late_sibling\n    return late_sibling.X\n", late_sibling="X = 3\n"
    )
    with user_code.imported(user_code.locate({"module_file": path})) as code:
        assert code.function(None) == 3


def test_two_modules_of_the_same_name_keep_to_their_own_siblings(tmp_path):
    results = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        modules = {"same_name": "import same_sibling\ndef run_fn(fn_args):\n    return same_sibling.X\n"}
        path = wheel(tmp_path / str(number), **modules, same_sibling=f"X = {number}\n")
        with user_code.imported(user_code.locate({"module_path": f"same_name@{path}"})) as code:
            results.append(code.function(None))
    assert results == [1, 2]


def test_the_import_path_is_as_before_afterwards(module_file):
    before = list(sys.path)
    load(module_file=module_file(RUN_FN))
    assert sys.path == before


def test_a_namesake_that_the_pipeline_imported_is_given_back(module_file, tmp_path, monkeypatch):
    (tmp_path / "pipeline_code.py").write_text("X = 'of the pipeline'\n")
    monkeypatch.syspath_prepend(tmp_path)
    import pipeline_code  # type: ignore[import-not-found]

    load(module_file=module_file(RUN_FN, "pipeline_code"))
    assert sys.modules["pipeline_code"] is pipeline_code


def test_a_module_named_like_a_library_is_refused(module_file):
    with pytest.raises(
        UserCodeError, match=r"a module called 'pytest', while .* Rename the file, e.g. to my_pytest.py"
    ):
        load(module_file=module_file(RUN_FN, "pytest"))


def fingerprint(folder, module="one", **changed):
    sources = {
        "one": "from helper import X\n" + RUN_FN,
        "other": "from helper import X\n" + RUN_FN,
        "helper": "def later():\n    import deep\nX = 1\n",
        "deep": "Y = 1\n",
        "beside": "Z = 1\n",
        **changed,
    }
    folder.mkdir(exist_ok=True)
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    return user_code.locate({"module_file": str(folder / f"{module}.py")}).fingerprint


def test_the_fingerprint_follows_the_code_and_the_siblings_that_it_imports_however_deep(tmp_path):
    first = fingerprint(tmp_path / "a")
    assert fingerprint(tmp_path / "b") == first
    assert fingerprint(tmp_path / "a", one="from helper import X\nA = 1\n" + RUN_FN) != first
    assert fingerprint(tmp_path / "a", helper="X = 2\n") != first
    assert fingerprint(tmp_path / "a", deep="Y = 2\n") != first
    assert fingerprint(tmp_path / "a", beside="Z = 2\n", other=RUN_FN) == first


def test_two_modules_of_a_folder_have_different_fingerprints(tmp_path):
    assert fingerprint(tmp_path, "one") != fingerprint(tmp_path, "other")


@pytest.mark.parametrize("how", ["import importlib\nimportlib.import_module(NAME)\n", "__import__(NAME)\n", "def (:\n"])
def test_where_imports_are_known_only_when_it_runs_the_fingerprint_is_of_all_siblings(tmp_path, how):
    first = fingerprint(tmp_path, one=how)
    assert fingerprint(tmp_path, one=how, beside="Z = 2\n") != first


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserCodeError, match=r"module_file: got '.*/nowhere\.py'.*There is no such file"):
        load(module_file=str(tmp_path / "nowhere.py"))


def test_a_missing_import_is_named_with_its_line_and_the_rule_of_siblings(module_file):
    with pytest.raises(UserCodeError, match=r"an import of 'no_such_lib' at line 2, .* only the \.py files beside"):
        load(module_file=module_file("import os\nimport no_such_lib\n" + RUN_FN))


def test_a_dotted_path_into_nothing_asks_for_the_package():
    with pytest.raises(UserCodeError, match=r"no module named 'no_such_package'.*Is the package .* installed"):
        load(run_fn="no_such_package.module.run_fn")


def test_a_syntax_error_is_placed(module_file):
    with pytest.raises(UserCodeError, match="a syntax error at line 2"):
        load(module_file=module_file("import os\ndef run_fn(:\n    pass\n"))


def test_an_exit_while_importing_is_caught(module_file):
    with pytest.raises(UserCodeError, match=r"a call of exit\(3\) while it was imported"):
        load(module_file=module_file("import sys\nsys.exit(3)\n"))


def test_any_other_error_while_importing_is_placed_and_kept_as_the_cause(module_file):
    with pytest.raises(UserCodeError, match="ZeroDivisionError while it was imported at line 2") as caught:
        load(module_file=module_file("x = 0\ny = 1 / x\n"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failed_import_leaves_no_module_behind(module_file):
    with pytest.raises(UserCodeError):
        load(module_file=module_file("raise RuntimeError\n", "fails_on_import"))
    assert "fails_on_import" not in sys.modules


def test_a_module_without_an_entry_point_lists_its_functions(module_file):
    with pytest.raises(UserCodeError, match=r"no run_fn or trainer_fn .* its functions are \['train'\]"):
        load(module_file=module_file("def train(fn_args): ...\n"))


@pytest.mark.parametrize(
    ("source", "got"),
    [
        ("def run_fn(): ...", r"run_fn\(\); expected run_fn\(fn_args\)"),
        ("def run_fn(fn_args, schema): ...", r"run_fn\(fn_args, schema\); expected run_fn\(fn_args\)"),
        ("def trainer_fn(fn_args): ...", r"trainer_fn\(fn_args\); expected trainer_fn\(fn_args, schema\)"),
        ("run_fn = 3", "run_fn = 3; expected a function"),
    ],
)
def test_a_wrong_signature_is_shown_beside_the_right_one(module_file, source, got):
    with pytest.raises(UserCodeError, match=got):
        load(module_file=module_file(source + "\n"))


def test_a_signature_with_defaults_is_right(module_file):
    load(module_file=module_file("def run_fn(fn_args, verbose=False): ...\n"))


def test_a_wheel_that_is_gone_points_at_the_wheels_folder(tmp_path):
    with pytest.raises(UserCodeError, match=r"a wheel that cannot be read \(FileNotFoundError.*_wheels folder"):
        load(module_path=f"module@{tmp_path / 'gone.whl'}")


def test_a_wheel_that_is_no_zip_says_so(tmp_path):
    (tmp_path / "bad.whl").write_bytes(b"not a zip")
    with pytest.raises(UserCodeError, match="BadZipFile"):
        load(module_path=f"module@{tmp_path / 'bad.whl'}")


def test_a_wheel_without_the_module_says_so(tmp_path):
    with pytest.raises(UserCodeError, match=r"expected a wheel that holds other\.py"):
        load(module_path=f"other@{wheel(tmp_path, some_module=RUN_FN)}")


def test_a_run_fn_that_is_no_dotted_path(tmp_path):
    with pytest.raises(UserCodeError, match="run_fn: got 'run_fn'; expected a dotted path"):
        load(run_fn="run_fn")


def test_no_user_code_at_all():
    with pytest.raises(UserCodeError, match="no user code; expected a module_file, a run_fn or a trainer_fn"):
        load(module_file=None)
