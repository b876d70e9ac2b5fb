"""Classes from folders, StyleGAN's dataset.json, CSV files and sources themselves."""

import json

import numpy as np
import pytest

from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.sources.conditions import Conditions, conditions_from
from ganformer_jax.data.sources.source import Labels, Source, labels_from
from ganformer_jax.errors import UserError


class Named(Source):
    """Entries without contents."""

    description = "a test"

    def __init__(self, *names, labels=None, companions=None, paths=()):
        self.names, self.labels, self.companions = names, labels, companions or {}
        self.paths = paths

    def read(self, index):
        raise NotImplementedError

    def fingerprint(self):
        return ""

    def companion(self, name):
        return self.companions.get(name)


def found(source, choice):
    labels = find_labels(source, choice)
    return labels and (labels.names, labels.classes.tolist())


def test_folders_are_classes_below_what_they_share():
    source = Named("set/cat/1.png", "set/dog/1.png", "set/cat/sub/2.png", "set/dog/2.png")
    assert found(source, "folders") == (("cat", "cat/sub", "dog"), [0, 2, 1, 2])
    assert found(Named("./b/1.png", "./a/2.png", "3.png"), "folders") == (("a", "b"), [1, 0, -1])
    with pytest.raises(UserError, match="no subfolders"):
        find_labels(Named("1.png", "2.png"), "folders")


def test_a_class_and_a_folder_in_it(tmp_path):
    """Of an archive, the one folder of all is not a class: some image there has none."""
    in_folder = Named("a/1.png", "a/b/2.png", paths=(tmp_path,))
    assert found(in_folder, "folders") == (("a", "a/b"), [0, 1])
    in_archive = Named("set/stray.png", "set/a/1.png", "set/b/2.png")
    assert found(in_archive, "folders") == (("a", "b"), [-1, 0, 1])


def test_one_folder_of_all_is_no_reason_to_refuse():
    assert found(Named("cat/1.png", "cat/2.png"), "folders") == (("cat",), [0, 0])


def stylegan(labels):
    return {"dataset.json": json.dumps({"labels": labels}).encode()}


def test_stylegan_labels_are_found_by_themselves():
    rows = [["00000/a.png", 2], ["00000/b.png", 0], ["00000/other.png", 7]]
    source = Named("00000/a.png", "00000/b.png", "00000/c.png", companions=stylegan(rows))
    assert found(source, "auto") == (("0", "1", "2"), [2, 0, -1])
    assert found(source, "none") is None
    assert found(Named("a.png", companions=stylegan(None)), "auto") is None
    assert found(Named("a.png", companions=stylegan([])), "auto") is None
    with pytest.raises(UserError, match="none of the images.*use --labels none to ignore it"):
        find_labels(Named("a.png", companions=stylegan([["b.png", 1]])), "auto")
    assert found(Named("a.png"), "auto") is None


@pytest.mark.parametrize("values", [[0, 1, 0], [3, -1, 5], [0.5, 1.5, 2.0], [2.0, 1990, 1]])
def test_lists_of_one_number_are_those_of_an_array(values):
    names = [f"{i}.png" for i in range(len(values))]
    rows = [[name, [value]] for name, value in zip(names, values, strict=True)]
    of_json = find_labels(Named(*names, companions=stylegan(rows)), "auto")
    array = np.array(values)[:, None]
    of_array = labels_from(array, 3, "here") or conditions_from(array, 3, "here")
    assert of_json and of_array and type(of_json) is type(of_array)
    assert of_json.names == of_array.names
    for field in ("classes", "vectors"):
        expected = getattr(of_array, field, None)
        np.testing.assert_array_equal(getattr(of_json, field, None), expected)


def test_conditions_of_one_number_have_names():
    contents = json.dumps({"labels": [["a.png", [1]]], "condition_names": ["size"]}).encode()
    labels = find_labels(Named("a.png", companions={"dataset.json": contents}), "auto")
    assert isinstance(labels, Conditions) and labels.names == ("size",)


def test_stylegan_labels_inside_the_one_folder_of_an_archive():
    inside = {"set/dataset.json": stylegan([["0/a.png", 1], ["1/b.png", 0]])["dataset.json"]}
    source = Named("set/0/a.png", "set/1/b.png", companions=inside)
    assert found(source, "auto") == (("0", "1"), [1, 0])


def test_folders_of_an_archive_from_windows():
    assert found(Named("x\\b\\1.png", "x\\a\\2.png"), "folders") == (("a", "b"), [1, 0])


def test_names_of_images_are_found_however_they_are_spelled(tmp_path):
    (tmp_path / "l.csv").write_text("./a.png,x\nb\\c.png,y\nd/./e.png,10\nnobody.png,2\n")
    source = Named("a.png", "b/c.png", "./d/e.png", " f.png")
    labels = find_labels(source, str(tmp_path / "l.csv"))
    assert labels and labels.names == ("10", "x", "y") and labels.unused == 1
    assert labels.classes.tolist() == [1, 2, 0, -1]


def test_accents_of_a_mac(tmp_path):
    path, decomposed, composed = tmp_path / "l.csv", "e\u0301.png", "\u00e9.png"
    path.write_text(f"{composed},x\nb.png,y\n", "utf-8")
    labels = find_labels(Named(decomposed, "b.png"), str(path))
    assert labels and labels.classes.tolist() == [0, 1] and labels.unused == 0
    assert found(Named(decomposed, composed), str(path)) == (("x",), [-1, 0])
    path.write_text(f"{composed},x\n{decomposed},y\n", "utf-8")
    assert found(Named(decomposed), str(path)) == (("y",), [0])
    assert found(Named(composed, decomposed), str(path)) == (("x", "y"), [0, 1])


def test_numbers_of_array_entries_need_no_zeros(tmp_path):
    (tmp_path / "l.csv").write_text("image,class\n" + "".join(f"{i},{i % 3}\n" for i in range(12)))
    labels = find_labels(Named(*(f"{i:02d}" for i in range(12))), str(tmp_path / "l.csv"))
    assert labels and labels.classes.tolist() == [i % 3 for i in range(12)] and labels.unused == 1
    (tmp_path / "l.csv").write_text("1,a\n01,b\n")
    with pytest.raises(UserError, match="gives 1 two classes, a and b"):
        find_labels(Named("01", "02"), str(tmp_path / "l.csv"))


def test_a_name_of_many_digits_is_a_name(tmp_path):
    (tmp_path / "l.csv").write_text(f"a.png,{'9' * 5000}\nb.png,10\n")
    labels = find_labels(Named("a.png", "b.png"), str(tmp_path / "l.csv"))
    assert labels and labels.classes.tolist() == [1, 0]


def test_a_complaint_of_the_source_can_be_overruled():
    source = Named("a.png")
    source.label_error = "the array labels is odd"
    with pytest.raises(UserError, match="is odd: use --labels none to ignore it"):
        find_labels(source, "auto")
    assert find_labels(source, "none") is None


def test_an_empty_class_is_none(tmp_path):
    (tmp_path / "l.csv").write_text("a.png,\nb.png,x\n")
    assert found(Named("a.png", "b.png"), str(tmp_path / "l.csv")) == (("x",), [-1, 0])


def test_what_the_source_stores_comes_first():
    stored = Labels(("x",), np.array([0]), "y")
    assert find_labels(Named("a.png", labels=stored, companions=stylegan([])), "auto") is stored


def test_a_csv_file(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('\ufefffile,class\n"a,1.png",Möwe\nb.png, Ente \n\n', encoding="utf-8")
    source = Named("a,1.png", "b.png", "c.png")
    assert found(source, str(path)) == (("Ente", "Möwe"), [1, 0, -1])


def test_a_table_that_cannot_be_opened(tmp_path, monkeypatch):
    path = tmp_path / "l.csv"
    path.write_text("a.png,red\n")

    def forbidden(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", forbidden)
    with pytest.raises(UserError, match="cannot read .*l.csv: Permission denied"):
        find_labels(Named("a.png"), str(path))


def test_a_json_file_with_names(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"labels": [["a.png", "red"], ["b.png", "blue"]]}))
    assert found(Named("a.png", "b.png"), str(path)) == (("blue", "red"), [1, 0])


def test_spaces_around_a_class_mean_nothing(tmp_path):
    path = tmp_path / "labels.json"
    labels = [["a.png", "red"], ["b.png", " red"], ["c.png", "  "]]
    path.write_text(json.dumps({"labels": labels}))
    assert found(Named("a.png", "b.png", "c.png"), str(path)) == (("red",), [0, 0, -1])


@pytest.mark.parametrize(
    "name,contents,words",
    [
        ("l.csv", "a.png\n", "two columns"),
        ("l.csv", "", "two columns"),
        ("l.csv", "a.png;1\n", "two columns separated by a comma"),
        ("l.csv", "other.png,1\n", "labels none of the images: .*a.png"),
        ("l.json", "[1]", "no labels in StyleGAN's format"),
        ("l.json", "{", "no labels in StyleGAN's format"),
        ("l.json", '{"labels": [["a.png", 0.5]]}', "labels should be integers"),
        ("l.json", '{"labels": [["a.png", -1]]}', "outside 0"),
        ("l.json", '{"labels": [["a.png", true]]}', "labels should be integers"),
        ("l.csv", "a.png,1\n./a.png,2\n", "gives ./a.png two classes, 1 and 2"),
        ("l.json", '{"labels": [["a.png", 0], ["a.png", 2]]}', "a.png two classes, 0 and 2"),
        ("l.json", '{"labels": [["a.png", 99999999]]}', "outside 0"),
        ("l.json", '{"labels": [["a.png", NaN]]}', "has the label nan: labels should be integers"),
        ("l.txt", "", "use auto, none, folders"),
        (None, "", "no file"),
    ],
)
def test_labels_that_make_no_sense(tmp_path, name, contents, words):
    path = tmp_path / (name or "missing.csv")
    if name:
        path.write_text(contents)
    with pytest.raises(UserError, match=words) as raised:
        find_labels(Named("a.png"), str(path))
    assert "\n" not in str(raised.value)
