"""Encoders of captions that start from a published BERT."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captioned import CAPTIONED
from command_line import complaint
from safetensors.numpy import save_file

from ganformer_jax import create_state
from ganformer_jax.captions import make_tokenizer
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.convert.bert_folder import read_bert_folder
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.initial_text import start_from_bert
from ganformer_jax.models.text_encoder import TextEncoder

REFERENCE = pathlib.Path(__file__).parent / "data" / "bert.npz"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cube", "##s", "a", "red", "sphere", ","]
SETTINGS = {"model_type": "bert", "num_attention_heads": 4, "layer_norm_eps": 1e-12}
CAPTION = "a red cube, a sphere"
SIZES = {"layers": 2, "width": 16, "heads": 4, "hidden_width": 32}


@pytest.fixture
def folder(tmp_path):
    """A BERT of random weights, as it would be published."""
    with np.load(REFERENCE) as file:
        weights = {n.removeprefix("weights/"): a for n, a in file.items() if "weights/" in n}
    save_file(weights, tmp_path / "model.safetensors")
    words = PIECES + [f"[unused{number}]" for number in range(40 - len(PIECES))]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    return tmp_path


def captioned(tokenizer, multiplier=0.1, **sizes):
    """Networks whose encoders have the sizes of the BERT, unless others are given."""
    sizes = SIZES | sizes
    text = TextEncoderConfig(
        **sizes,
        vocabulary=tokenizer.vocabulary,
        longest=8,
        learning_rate_multiplier=multiplier,
    )
    networks = {
        name: dataclasses.replace(getattr(CAPTIONED, name), text=text)
        for name in ("generator", "discriminator")
    }
    return dataclasses.replace(CAPTIONED, **networks)


def started(folder, tokenizer, config):
    """A state before and after the start, and what was said."""
    said = []
    start = start_from_bert(folder, config, tokenizer.text, said.append)
    state = jax.jit(functools.partial(create_state, config))(jax.random.key(0))
    again = start(state)  # as a run that returns to its start
    jax.tree.map(np.testing.assert_array_equal, again.generator, start(state).generator)
    return state, again, said


@pytest.mark.parametrize("multiplier", [1.0, 0.1])
def test_captions_are_read_as_bert_reads_them(folder, multiplier):
    tokenizer = make_tokenizer(["sphere", "cube", "a", ",", "red"])
    config = captioned(tokenizer, multiplier)
    before, after, said = started(folder, tokenizer, config)
    bert = read_bert_folder(folder)
    there = [PIECES.index(word) for word in ["[CLS]", *"a red cube , a sphere".split(), "[SEP]"]]
    assert bert.pieces(CAPTION) == there[1:-1] and len(said) == 1
    here = tokenizer.tokens(CAPTION)
    with jax.default_matmul_precision("highest"):
        expected = TextEncoder(bert.config).apply({"params": bert.params}, jnp.array([there]))
        for name in ("generator", "ema", "discriminator"):
            params = getattr(after, name)["text"]
            found = TextEncoder(config.generator.text).apply({"params": params}, jnp.array([here]))
            for ours, published in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, published, atol=1e-5)
    rest = {name: {**getattr(after, name), "text": 0} for name in ("generator", "discriminator")}
    for name, network in rest.items():
        same = jax.tree.map(np.array_equal, network, {**getattr(before, name), "text": 0})
        assert all(jax.tree.leaves(same))


def test_words_are_means_of_their_pieces_and_unknown_ones_are_named(folder):
    tokenizer = make_tokenizer(["cubes", "torus"])
    config = captioned(tokenizer, multiplier=1.0)
    _, after, said = started(folder, tokenizer, config)
    table = read_bert_folder(folder).params["words"]
    rows = [table[0], table[2], table[3], table[[4, 5]].mean(0), table[1]]
    np.testing.assert_allclose(after.generator["text"]["words"], rows, rtol=1e-6)
    assert said[1] == "words that it does not know: torus"


def test_the_files_of_newer_models_are_the_same(folder):
    """The tokenizer as one file instead of a list of words."""
    tokenizers = pytest.importorskip("tokenizers")
    published = read_bert_folder(folder)
    model = tokenizers.models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_padding(length=8)  # as some are published
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()
    newer = read_bert_folder(folder)
    assert newer.pieces("A red, CUBES") == published.pieces("A red, CUBES") == [6, 7, 9, 4, 5]
    assert newer.config == published.config and newer.special == published.special == (0, 2, 3, 1)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (None, [4]),
        ({"do_lower_case": False}, [1]),
        ({"strip_accents": False}, [1]),  # as of a German model whose words are lowercase
        ({"do_lower_case": False, "strip_accents": True}, [4]),
    ],
)
def test_words_keep_their_accents_where_the_model_has_them(folder, rules, expected):
    if rules is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(rules))
    assert read_bert_folder(folder).pieces("cub\u00e9") == expected


@pytest.mark.parametrize(("split", "expected"), [(True, [1, 1]), (False, [1])])
def test_chinese_words_are_split_where_the_model_splits_them(folder, split, expected):
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenize_chinese_chars": split}))
    assert read_bert_folder(folder).pieces("\u7ea2\u7403") == expected


def test_other_sizes_are_refused_with_the_options_that_would_do(folder):
    tokenizer = make_tokenizer(["cube"])
    config = captioned(tokenizer, layers=1, width=8)
    expected = "--generator.text.layers 2 --generator.text.width 16 --discriminator.text.layers 2"
    with pytest.raises(UserError, match=expected):
        start_from_bert(folder, config, tokenizer.text)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", None, "cannot read .*config.json: No such file"),
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json has no settings"),
        ("config.json", '{"model_type": "gpt2"}', "model_type is gpt2, but only bert is supported"),
        ("config.json", '{"hidden_act": "relu"}', "hidden_act is relu, but only gelu"),
        ("config.json", '{"num_attention_heads": "4"}', "not a number of heads"),
        ("config.json", '{"num_attention_heads": 4, "layer_norm_eps": 0}', "not a number above 0"),
        ("config.json", "{}", "num_attention_heads is None, not a number of heads"),
        ("vocab.txt", "a\nb", r"vocab.txt has no token \[PAD\]"),
        ("vocab.txt", None, "has no tokenizer.json or vocab.txt"),
        (
            "vocab.txt",
            "\n".join(map(str, range(41))),
            "has a vocabulary of 41 tokens, but weights for 40",
        ),
        ("tokenizer.json", "{", "tokenizer.json is not a vocabulary"),
        ("model.safetensors", None, "has no model.safetensors or pytorch_model.bin"),
    ],
)
def test_other_folders_are_refused(folder, name, text, message):
    path = folder / name
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_bert_folder(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "scenes", "--init-text", "FOLDER"], "--init-text is for images with captio"),
        (["--config", "scenes_prior", "--init-text", "FOLDER"], "--init-text is for GANs: leave"),
        (["--config", "scenes_text", "--init-text", "/nowhere"], "no folder /nowhere with a BERT"),
        (["--init-from", "x", "--init-text", "FOLDER"], "and --init-text cannot be combined"),
        (
            ["--config", "scenes_text", "--init-text", "FOLDER"],
            "captions have up to 18 tokens, and the BERT of",
        ),
    ],
)
def test_the_command_says_what_it_needs(capsys, folder, options, message):
    options = [str(folder) if option == "FOLDER" else option for option in options]
    run = folder / "run"
    said = complaint(capsys, "train", "--workdir", str(run), *options)
    assert message in said and not run.exists()
