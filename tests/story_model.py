"""A GGUF model that tells one known story, whatever it is asked, at any temperature, on any machine.

A llama-architecture transformer whose attention and feed-forward blocks are all zeros: only the residual stream is left, so
the next token depends on the present token alone. Every token of the story is unique, token i makes token i + 1 certain, the
token that closes the chat template makes the first one certain, and the last one makes the end certain. The file is
byte-identical for the same arguments, so a test knows every character that a real engine will stream.

    python -m tests.story_model story.gguf --length 5000 --layers 4 --feed-forward 65536
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

StoryToken = str | bytes
"""A piece of the story: text is one token; bytes are one token each, so that a code point can be split over several."""

OPENING: tuple[StoryToken, ...] = (
    "Once", " upon", " a", " time", ",", " in", " the", " harbour", " town", " of", " Vell", "bruk", ", an", " old", " keeper",
    " counted", " every", " wave", " that", " reached", " his", " light", ":",
)  # fmt: skip
ENDING: tuple[StoryToken, ...] = (
    ".", "\n\n", "Then", " he", " wrote", " 灯台", " above", " **", "the", " sum", "**", " and", " drew", " one", " more", " wave: ",
    "🌊".encode(), "\n", "The", " end", "!",
)  # fmt: skip

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKERS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
WIDTH = 128
"""Embedding width: with random signs the right token leads the best wrong one by ≥ 60 nats (logits) among 20 000 tokens."""
SLOW = 65_536
"""A *feed_forward* that costs: on 2 quiet cores some 1 000 tokens/s with one layer (15 MB), 300 with four (55 MB), instead of 4 000;
where others want the cores too, far fewer."""


def story_tokens(length: int = 240) -> tuple[StoryToken, ...]:
    """Return a story of *length* tokens as an engine counts them (48 at least), all different; one emoji is split over four."""
    waves = length - len(OPENING) - sum(len(part) if isinstance(part, bytes) else 1 for part in ENDING)
    if waves < 1:
        raise ValueError("a story has at least 48 tokens")
    return (*OPENING, *(f" {number}" for number in range(1, waves + 1)), *ENDING)


def story_text(tokens: Sequence[StoryToken] = story_tokens()) -> str:
    """Return what a model made of *tokens* says, to the character."""
    return b"".join(token if isinstance(token, bytes) else token.encode() for token in tokens).decode()


def write_story_model(
    path: Path,
    *,
    tokens: Sequence[StoryToken] = story_tokens(),
    layers: int = 1,
    feed_forward: int = WIDTH,
    context_tokens: int = 8_192,
    seed: int = 0,
    is_pooling: bool = False,
) -> str:
    """Write the model to *path* and return its story.

    *layers* and *feed_forward*, a multiple of 32, set the price of a token: see SLOW. *context_tokens* is what the file claims to have
    been trained for; *is_pooling* lets the model make vectors out of texts. Raises ValueError when a token comes twice.
    """
    texts, chain = _vocabulary(tokens)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("story")
    writer.add_block_count(layers)
    if is_pooling:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_context_length(context_tokens)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(texts))
    _add_tokenizer(writer, texts)
    for name, tensor in _tensors(len(texts), chain, seed):
        writer.add_tensor(name, tensor)
    for layer in range(layers):
        _add_silent_layer(writer, layer, feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return story_text(tokens)


def _vocabulary(tokens: Sequence[StoryToken]) -> tuple[list[str], list[int]]:
    """Return the text of every token id, and the ids in the order in which they follow each other."""
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *MARKERS]
    chain = [texts.index("<|assistant|>")]
    for token in tokens:
        if isinstance(token, bytes):
            chain += [3 + byte for byte in token]
        else:
            chain.append(len(texts))
            texts.append(token)
    chain.append(texts.index("<|end|>"))
    if len(set(chain)) != len(chain) or len(set(texts)) != len(texts):
        raise ValueError("each token of a story must be different from all others")
    return texts, chain


def _add_tokenizer(writer: gguf.GGUFWriter, texts: Sequence[str]) -> None:
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.CONTROL] * len(MARKERS)
    # User-defined tokens are cut out of a text first, so a story that comes back in a prompt is the same tokens again.
    kinds += [gguf.TokenType.USER_DEFINED] * (len(texts) - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores([0.0] * len(texts))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(texts.index("<|end|>"))
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def _tensors(vocabulary: int, chain: Sequence[int], seed: int) -> list[tuple[str, NDArray[Any]]]:
    # Signs out of a hash, not out of numpy's generators, whose streams may change between releases.
    stream = hashlib.shake_256(f"story {seed}".encode()).digest(vocabulary * WIDTH // 8)
    embedding = np.unpackbits(np.frombuffer(stream, np.uint8)).reshape(vocabulary, WIDTH).astype(np.float16) * 2 - 1
    output = np.zeros((vocabulary, WIDTH), np.float16)
    output[list(chain[1:])] = embedding[list(chain[:-1])]
    return [("token_embd.weight", embedding), ("output_norm.weight", np.ones(WIDTH, np.float32)), ("output.weight", output)]


def _add_silent_layer(writer: gguf.GGUFWriter, layer: int, feed_forward: int) -> None:
    """Add a layer that computes and adds nothing. Blocks of Q4_0 are 18 bytes for 32 weights, all zero when the scale is."""
    for norm in ("attn", "ffn"):
        writer.add_tensor(f"blk.{layer}.{norm}_norm.weight", np.ones(WIDTH, np.float32))
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
    shapes |= {"ffn_gate": (feed_forward, WIDTH), "ffn_up": (feed_forward, WIDTH), "ffn_down": (WIDTH, feed_forward)}
    for name, (rows, columns) in shapes.items():
        zeros = np.zeros((rows, columns // 32 * 18), np.uint8)
        writer.add_tensor(f"blk.{layer}.{name}.weight", zeros, raw_dtype=gguf.GGMLQuantizationType.Q4_0)


def main() -> None:
    """Write a story model from the command line, to try the server with a real engine and known words."""
    parser = argparse.ArgumentParser(description="Write a GGUF model that tells one known story.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--length", type=int, default=240, help="tokens of the story (default: 240)")
    parser.add_argument("--layers", type=int, default=1, help="more is slower (default: 1)")
    parser.add_argument("--feed-forward", type=int, default=WIDTH, help=f"wider is slower (default: {WIDTH})")
    arguments = parser.parse_args()
    tokens = story_tokens(arguments.length)
    story = write_story_model(arguments.path, tokens=tokens, layers=arguments.layers, feed_forward=arguments.feed_forward)
    sys.stdout.write(story + "\n")


if __name__ == "__main__":
    main()
