"""Captions from a file or of scenes to samples: tokens, datasets, prompts, and what is refused."""

import dataclasses
import functools
import json
import re
import shlex

import numpy as np
import pytest
from command_line import call, complaint
from images import make_folder, png
from small_scenes import small_chunks

from ganformer_jax.captions import (
    CaptionTokenizer,
    load_tokenizer,
    make_tokenizer,
    tokenizer_of,
    vocabulary_of,
)
from ganformer_jax.config.checks import validate
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import load_config
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.data.batches import open_dataset, train_batches
from ganformer_jax.data.captions import find_captions
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.prepared import TfdsSource
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.data import ExperimentData, open_scenes
from ganformer_jax.experiment.scene_captions import described_scenes, scene_tokenizer
from ganformer_jax.scenes.captions import (
    FACTS,
    HELD_OUT_PAIRS,
    caption,
    facts,
    longest_caption,
    scene_objects,
)

CAPTIONS = ["A red cube", "a blue cube, behind it a Ball", "the ball", "a ball"]
# Options that keep a run tiny.
TINY = """
    --generator.components 2 --generator.latent-size 8 --generator.mapping.num-layers 1
    --generator.attention-resolutions 4 4 --generator.attention.kmeans-iterations 0
    --loss.r1-gamma 0 --loss.style-mixing 0 --loss.path-length-weight 0
    --generator.synthesis.channel-base 64 --generator.synthesis.channel-max 8
    --discriminator.channel-base 64 --discriminator.channel-max 8
    --generator.text.layers 1 --generator.text.width 8 --generator.text.hidden-width 8
    --discriminator.text.layers 0 --discriminator.text.width 8
    --train.batch-size 4 --train.total-kimg 0.008 --train.metric-kimg 0 --train.image-kimg 0.004
""".split()


# Tokens


def test_captions_become_tokens_and_captions_again():
    tokenizer = tokenizer_of(CAPTIONS)
    assert tokenizer.vocabulary == vocabulary_of(tokenizer.text) == 3 + 9
    labels = tokenizer.encode(["The red BALL, behind a cube", "a ball"], 9)
    assert labels.dtype == np.float32 and labels.shape == (2, 9)
    assert labels[:, 0].tolist() == [1, 1] and labels[1].tolist()[3:] == [2, 0, 0, 0, 0, 0]
    assert tokenizer.decode(labels[0]) == "the red ball, behind a cube"
    again = CaptionTokenizer(tokenizer.text)
    np.testing.assert_array_equal(again.encode(CAPTIONS, 10), tokenizer.encode(CAPTIONS, 10))
    assert tokenizer.decode(np.float32([1, 99, 2])) == "?"


def test_the_file_is_one_that_the_library_applies_alone():
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizer_of(CAPTIONS)
    library = tokenizers.Tokenizer.from_str(tokenizer.text)
    assert library.encode("A Red cube, it").ids == tokenizer.tokens("A Red cube, it")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty caption: give it at least one word"),
        (" ", "an empty caption"),
        ("a bal", "has the word 'bal'; did you mean ball"),
        ("a zzz", "has the word 'zzz'; tokenizer.json has the known words"),
        ("[CLS]", "has the word '\\['"),
        ("a \udcff ball", "is not text in UTF-8"),
        ("a ball a ball", "has 6 tokens, with those for its start and end, but at most 5 are read"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text, words):
    with pytest.raises(UserError, match=words) as raised:
        tokenizer_of(CAPTIONS).encode([text], 5)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("normalizer",), None, "does not say how to split captions"),
        (("pre_tokenizer",), None, "does not say how to split captions"),
        (("model", "vocab", "red"), 9, "leaves out numbers of tokens"),
    ],
)
def test_a_tokenizer_of_another_program_is_refused(path, value, message):
    """Each would end `sample --prompt` with a traceback."""
    contents = json.loads(make_tokenizer(["a", "red"]).text)
    *groups, name = path
    functools.reduce(dict.__getitem__, groups, contents)[name] = value
    with pytest.raises(UserError, match=f"tokenizer.json {message}: prepare it again"):
        CaptionTokenizer(json.dumps(contents))


def test_what_is_no_tokenizer_is_refused(tmp_path):
    assert load_tokenizer(tmp_path) is None
    for text, words in (("{", "is not a tokenizer"), ("\xff", "is not a tokenizer")):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(UserError, match=words):
            load_tokenizer(tmp_path)
    swapped = make_tokenizer(["a"]).text.replace('"[CLS]": 1', '"[CLS]": 3')
    with pytest.raises(UserError, match="does not begin with"):
        CaptionTokenizer(swapped.replace('"a": 3', '"a": 1'))


# Datasets


def photos(path):
    return make_folder(path, {f"{i}.png": png(10 * i) for i in range(len(CAPTIONS))})


def write_csv(path, captions):
    lines = [f'{i}.png,"{text}"' for i, text in enumerate(captions)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_captions_are_read_from_both_kinds_of_files(tmp_path):
    source = FolderSource(photos(tmp_path / "photos"))
    one = find_captions(source, write_csv(tmp_path / "a.csv", [*CAPTIONS, "of no image"]))
    rows = [[f"{i}.png", text] for i, text in enumerate(CAPTIONS)]
    (tmp_path / "a.json").write_text(json.dumps({"labels": rows}))
    other = find_captions(source, tmp_path / "a.json")
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert one.tokenizer == other.tokenizer and one.unused == 1 and len(one.names) == 10


@pytest.mark.parametrize(
    ("captions", "words"),
    [
        (CAPTIONS[:2], "has no caption of 2.png and 1 more: every image needs one"),
        (["a", "a", "...", "a"], "the caption of 2.png should contain words"),
        (["a", "a", " ", "a"], "has no caption of 2.png: every"),
        (["a " * 600] * 4, "has a caption of 602 tokens, more than the limit of 512"),
    ],
)
def test_captions_that_cannot_be_used_are_refused_in_one_line(tmp_path, captions, words):
    source = FolderSource(photos(tmp_path / "photos"))
    with pytest.raises(UserError, match=words) as raised:
        find_captions(source, write_csv(tmp_path / "a.csv", captions))
    assert "\n" not in str(raised.value)


def test_two_captions_of_one_image_of_an_array(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8), np.uint8))
    (tmp_path / "a.csv").write_text("1,a cube\n0001,a sphere\n")
    with open_source(str(tmp_path / "images.npy")) as source:
        with pytest.raises(UserError, match="gives 1 two captions, a cube and a sphere"):
            find_captions(source, tmp_path / "a.csv")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "plain.py").write_text(
        "from ganformer_jax.config import Config\n\nconfig = Config()\n"
    )
    return tmp_path


def records(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_from_files_to_samples_of_a_prompt(home, capsys):
    """What the documentation walks through, with the command that `prepare` prints."""
    photos(home / "photos")
    write_csv(home / "captions.csv", CAPTIONS)
    prepare = ["prepare", "photos", "--name", "toys", "--resolution", "8"]
    given = ["--captions", "captions.csv"]
    said = complaint(capsys, *prepare, *given, "--labels", "none")
    assert "--captions cannot be combined with --labels" in said
    assert "use a .json or .csv" in complaint(capsys, *prepare, "--captions", "a.txt")
    assert "no file x.csv with captions" in complaint(capsys, *prepare, "--captions", "x.csv")
    code, out, err = call(capsys, *prepare, *given)
    assert code == 0 and "captions of up to 10 tokens, of 12 different ones" in out, err
    source = open_dataset(home / "data/toys", home, size=(8, 8))
    tokenizer = CaptionTokenizer(source.tokenizer)
    for index in range(4):
        item = source[index]
        text = CAPTIONS[int(item["images"][0, 0, 0]) // 10].lower()
        assert tokenizer.decode(item["labels"]) == text
    with TfdsSource(home / "data/toys") as again:
        assert isinstance(again.labels, Conditions)
        assert again.labels.tokenizer == source.tokenizer
    write_csv(home / "captions.csv", [*CAPTIONS[:3], "an urn"])
    assert "holds another dataset" in complaint(capsys, *prepare, *given)

    command = [*shlex.split(out.splitlines()[-1])[1:], "--config", "plain.py", *TINY]
    number = command.index("--generator.text.vocabulary") + 1
    wrong = [*command[:number], "13", *command[number + 1 :]]
    assert "set both to 13" in complaint(capsys, *wrong)
    wrong[wrong.index("--discriminator.text.vocabulary") + 1] = "13"
    needed = "set --generator.label-size 10 --generator.text.vocabulary 12"
    assert needed in complaint(capsys, *wrong) and not (home / "runs").exists()
    code, _, err = call(capsys, *command)
    assert code == 0, err
    run = home / "runs/toys"
    assert (run / "tokenizer.json").read_text() == source.tokenizer
    check_samples(capsys, run)


def check_samples(capsys, run):
    sample = ["sample", "--workdir", str(run), "--count", "3"]
    folders = [run.parent / name for name in "abc"]
    prompts = (["a red cube"], ["A  red cube"], ["a blue ball", "the cube"])
    for folder, some in zip(folders, prompts, strict=True):
        given = [word for text in some for word in ("--prompt", text)]
        code, _, err = call(capsys, *sample, "--out", str(folder), *given)
        assert code == 0, err
    assert [record["prompt"] for record in records(folders[2])] == [
        "a blue ball",
        "the cube",
        "a blue ball",
    ]
    images = [(folder / "000000.png").read_bytes() for folder in folders]
    assert images[0] == images[1] != images[2]
    code, _, err = call(capsys, *sample)
    assert code == 0, err
    drawn = {record["caption"] for record in records(run / "generated")}
    assert drawn <= {text.lower() for text in CAPTIONS}
    for options, words in (
        (["--prompt", ""], "--prompt: an empty caption"),
        (["--prompt", "a red cub"], "did you mean cube?"),
        (["--prompt", "a " * 12], "has 14 tokens"),
        (["--prompt", "a cube", "--condition", "1,2"], "cannot be combined"),
        (["--condition", "1,2"], "was trained on captions, use --prompt"),
        (["--class", "1"], "was trained on captions, use --prompt"),
    ):
        assert words in complaint(capsys, *sample, "--out", str(run.parent / "d"), *options)
    figures = ["visualize", "--workdir", str(run), "--figures", "truncation", "interpolation-z"]
    code, _, err = call(capsys, *figures, "--seeds", "0,1", "--frames", "2", "--prompt", "a cube")
    assert code == 0, err
    (run / "tokenizer.json").unlink()
    said = complaint(capsys, *sample, "--out", str(run.parent / "d"), "--prompt", "a cube")
    assert f"there is no tokenizer.json in {run}: copy it there from the dataset" in said


# Scenes


def text_config(directory, **generator):
    config = load_config("scenes_text")
    data = dataclasses.replace(
        config.data, directory=str(directory), train_images=8, held_out_images=8
    )
    generator = dataclasses.replace(config.generator, **generator)
    return dataclasses.replace(config, data=data, generator=generator)


def test_scenes_have_their_captions_as_labels(tmp_path):
    validate(text_config(tmp_path))
    with small_chunks():
        data = ExperimentData(text_config(tmp_path))
        source = data.open("train")
    tokenizer = scene_tokenizer()
    batch = next(train_batches(source, batch_size=8, seed=0, threads=0))
    texts = {tokenizer.decode(label) for label in batch["labels"]}
    expected = set()
    for index in range(8):
        record = source.record(index)
        text = caption(scene_objects(record["objects"]), int(record["index"]), 32)
        expected.add(text)
        assert tokenizer.decode(source.label(index)) == text
    assert texts == expected
    assert len(source.condition_names) == source.label_count == 18


def test_pairs_are_held_out_of_training_only(tmp_path):
    config = text_config(tmp_path)
    held = dataclasses.replace(config, data=dataclasses.replace(config.data, held_out_pairs=True))
    with small_chunks():
        every, some = (ExperimentData(one).open("train") for one in (config, held))
    tokenizer, pairs = scene_tokenizer(), [" ".join(pair) for pair in HELD_OUT_PAIRS]

    def texts(source):
        return [tokenizer.decode(source.label(index)) for index in range(len(source))]

    def has_pair(text):
        words = re.sub(" (rubber|metal) ", " ", text)
        return any(pair in words for pair in pairs)

    kept = [text for text in texts(every) if not has_pair(text)]
    assert texts(some) == kept and 0 < len(kept) < len(every)
    assert len(ExperimentData(held).open("test")) == 8
    (tmp_path / "config.json").write_text(json.dumps(to_dict(held)))
    assert [len(split) for split in open_scenes(tmp_path)] == [8, 8]  # to segment them all
    plain = dataclasses.replace(load_config("scenes"), data=held.data)
    with pytest.raises(UserError, match="data.held_out_pairs is about captions of scenes"):
        ExperimentData(plain)


def test_networks_without_captions_have_what_they_say_as_a_condition(tmp_path):
    config = text_config(tmp_path, label_size=len(FACTS), text=TextEncoderConfig())
    discriminator = dataclasses.replace(config.discriminator, text=TextEncoderConfig())
    config = dataclasses.replace(config, discriminator=discriminator)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, held_out_pairs=True))
    validate(config)
    with small_chunks():
        source = ExperimentData(config).open("test")
    assert source.condition_names == FACTS and not source.tokenizer
    for scene, index in zip(described_scenes(source, range(8)), range(8), strict=True):
        image, objects, number = scene
        record = source.record(index)
        np.testing.assert_array_equal(image, record["image"])
        assert number == int(record["index"])
        np.testing.assert_array_equal(source.label(index), facts(objects, number, 32))


def test_options_that_do_not_fit_scenes_are_refused(tmp_path):
    tokenizer = scene_tokenizer()
    assert len(tokenizer.tokens(longest_caption())) == 18 and tokenizer.vocabulary == 39
    config = text_config(tmp_path, label_size=17)
    with pytest.raises(UserError, match="set --generator.label-size 18 --generator.text.vocab"):
        ExperimentData(config)
    config = text_config(tmp_path)
    mirrored = dataclasses.replace(config, data=dataclasses.replace(config.data, mirror=True))
    with pytest.raises(UserError, match="data.mirror mirrors images, but not"):
        ExperimentData(mirrored)


def test_a_dataset_without_captions_is_refused(home, capsys):
    photos(home / "photos")
    code, out, err = call(capsys, "prepare", "photos", "--name", "plain", "--resolution", "8")
    assert code == 0, err
    command = [*shlex.split(out.splitlines()[-1])[1:], "--config", "plain.py", *TINY]
    command += "--generator.label-size 5 --discriminator.label-logit projection".split()
    command += "--generator.text.vocabulary 9 --discriminator.text.vocabulary 9".split()
    assert "has no captions: prepare it with --captions" in complaint(capsys, *command)
