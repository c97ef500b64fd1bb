"""A CLIP tokenizer of a few hundred tokens, in the files of the real one."""

import json
from collections import Counter

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"

CORPUS = """a photo of a striped teapot on grass; a teapot in the snow; two teapots and a cat at night; the yellow and
blue zigzag backpack on a wooden table; a dotted mug on the beach; it's the dog's toy, they're here; painting of a
castle in the city; a close photo of the red vase; a checked chair in a garden; don't we'll I've""".split()

TRICKY = [
    "",
    " ",
    "a teapot",
    "A TeaPot",
    "  a   teapot\t\n on grass ",
    "teapots",
    "teapotteapot",
    "a photo of a striped teapot on grass",
    "a photo of a striped teapot on grass and a photo of a dotted mug on the beach at night in the city",
    "it's the dog's toy, they're here; don't, we'll, I've, I'm, he'd",
    "IT'S",
    "don't, we'll",
    "I've I'm he'd",
    "100 teapots, 3.14 and 2nd",
    "a-b_c/d\\e",
    "!!!",
    "!",
    "...?!;:",
    "hello<|endoftext|>world",
    "<|startoftext|>a teapot<|endoftext|>",
    "<|startoftext|",
    "naïve café",
    "nai\u0308ve cafe\u0301",
    "Ärger über Öl, ß",
    "İstanbul",
    "日本の茶瓶",
    "чайник на траве",
    "إبريق شاي",
    "🫖 on 🌱",
    "👩‍👩‍👧 family",
    "“curly” ‘quotes’ — dash…",
    "&amp; &lt;b&gt;",
    "ﬁne ligature ½ ² Ⅳ",
    "zero\u200bwidth\u00a0nbsp\u3000ideographic",
    "a\x00b\x7f",
    "x" * 40,
]


def byte_symbols():
    """The printable stand-ins of byte-level BPE for the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def learn_merges(count):
    """Plain BPE on CORPUS; ties go to the pair that sorts first."""
    words = Counter(w.strip(";,").lower() for w in CORPUS)
    split = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, n in words.items():
            for pair in zip(split[word], split[word][1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for symbols in split.values():
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = ["".join(best)]
                i += 1
    return merges


def write_tokenizer(folder, model_max_length, tokenizer_json, pad=END):
    """Write vocab.json, merges.txt and the configs; return the token settings of a CLIPTextConfig."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(30)
    symbols = byte_symbols()
    names = [*symbols, *(s + "</w>" for s in symbols), *("".join(m) for m in merges), START, END]
    vocab = {name: i for i, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    if tokenizer_json:
        tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, unk_token=END, bos_token=START, eos_token=END, pad_token=pad)
        tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))

    def special(content, normalized=True):
        return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}

    config = {
        "add_prefix_space": False,
        "bos_token": {"__type": "AddedToken", **special(START)},
        "do_lower_case": True,
        "eos_token": {"__type": "AddedToken", **special(END)},
        "errors": "replace",
        "model_max_length": model_max_length,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": {"__type": "AddedToken", **special(END)},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    special_tokens = {"bos_token": special(START), "eos_token": special(END), "pad_token": pad, "unk_token": special(END)}
    (folder / "special_tokens_map.json").write_text(json.dumps(special_tokens, indent=2) + "\n")
    return {"vocab_size": len(vocab), "bos_token_id": vocab[START], "eos_token_id": vocab[END], "pad_token_id": vocab[pad]}
