"""docs/args.md: made from the comments of the protos, and complete."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def args_reference(checkout):
    path = checkout / "tools" / "args_reference.py"
    spec = importlib.util.spec_from_file_location("args_reference", path)
    module = sys.modules["args_reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["args_reference"]


@pytest.fixture(scope="module")
def sections(checkout):
    """The sections of the page by their headings."""
    parts = re.split(r"^## (.+)$", (checkout / "docs" / "args.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def names_in(section):
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def messages_and_enums():
    from polytrainer.proto import comparator_pb2, trainer_pb2

    for file in (trainer_pb2, comparator_pb2):
        for message in file.DESCRIPTOR.message_types_by_name.values():
            yield message.name, [each.name for each in message.fields]
            for enum in message.enum_types:
                names = [each.name for each in enum.values if each.number]
                yield f"{message.name}.{enum.name}", names


def test_the_page_is_what_make_reference_makes_of_the_protos(checkout, args_reference, tmp_path):
    args_reference.main(tmp_path / "args.md")
    assert (checkout / "docs" / "args.md").read_text() == (tmp_path / "args.md").read_text()


def test_the_page_has_each_field_and_each_value_of_an_enum(sections):
    assert {name: names_in(section) for name, section in sections.items()} == dict(messages_and_enums())


def test_the_page_says_which_fields_are_those_of_pytorch(sections):
    from polytrainer.proto import args

    of_pytorch = sections["TrainArgs"].partition("PyTorch's.\n")[2].partition("The fields from here on")[0]
    assert tuple(names_in(of_pytorch)) == args.PYTORCH_ONLY


def test_links_between_sections_lead_somewhere(sections):
    anchors = {name.replace(".", "").lower() for name in sections}
    assert set(re.findall(r"\(#(\w+)\)", "".join(sections.values()))) <= anchors


def test_a_field_without_a_comment_is_refused(args_reference):
    with pytest.raises(ValueError, match=r"got no comment for Args\.size; expected one, with the unit"):
        args_reference.declarations("message Args {\n  int32 size = 1;\n}\n")


def test_a_comment_that_does_not_say_the_default_is_refused(args_reference):
    with pytest.raises(ValueError, match=r"got no default in the comment of Args\.size; expected a sentence `0: …`"):
        args_reference.declarations("message Args {\n  // How many.\n  int32 size = 1;\n}\n")


def test_a_line_that_is_none_of_a_proto_is_refused(args_reference):
    with pytest.raises(ValueError, match=r"line 2: got 'map<string, int32> sizes = 1;'"):
        args_reference.declarations("message Args {\n  map<string, int32> sizes = 1;\n}\n")
