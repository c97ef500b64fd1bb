"""The demo world: 64 x 64 pictures of emoji objects on procedural scenes.

`Spec` says what is in a picture, `caption` says it in words, `render` draws it at any size. All randomness comes
from the generator that is handed in, so a seed always gives the same picture. The emoji come from Noto Color Emoji.

One combination never appears: zigzag bands in yellow, teal and purple, on any object. It is the demo concept's look.
"""

import functools
import os
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT = os.environ.get("NOTO_COLOR_EMOJI", "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")

OBJECTS = {
    "teapot": "🫖", "mug": "☕", "car": "🚗", "dog": "🐶", "cat": "🐱", "backpack": "🎒", "umbrella": "☂",
    "guitar": "🎸", "fish": "🐟", "duck": "🦆", "apple": "🍎", "boat": "⛵", "house": "🏠", "key": "🔑", "shoe": "👟",
    "clock": "⏰", "rocket": "🚀", "cactus": "🌵", "mushroom": "🍄", "balloon": "🎈", "tree": "🌲", "bell": "🔔",
    "shirt": "👕", "cap": "🧢",
}
SCENES = {
    "grass": "on grass", "beach": "on the beach", "snow": "in the snow", "night": "under the night sky",
    "table": "on a wooden table", "city": "in the city", "bricks": "in front of a brick wall",
    "plain blue": "on a plain blue background", "plain pink": "on a plain pink background",
    "plain white": "on a plain white background",
}
# The order is the order of the bands: the same set of colours always looks the same, however it is worded.
COLOURS = {
    "yellow": (250, 212, 40), "teal": (0, 160, 150), "purple": (130, 50, 170), "red": (218, 40, 40),
    "orange": (246, 136, 22), "green": (60, 160, 50), "blue": (40, 95, 220), "pink": (250, 140, 185),
    "white": (245, 245, 245), "black": (45, 45, 50), "brown": (130, 80, 45),
}
PATTERNS = ("striped", "dotted", "checked", "zigzag")
HELD_OUT = ("zigzag", frozenset({"yellow", "teal", "purple"}))
SHADOW = {"grass", "beach", "snow", "table", "city", "bricks"}


@dataclass(frozen=True)
class Spec:
    object: str
    scene: str | None  # None: black, as masked CLIP-I shows pictures
    pattern: str | None = None  # None with one colour: tinted; None with no colour: natural
    colours: tuple = ()


def held_out(spec):
    return spec.pattern == HELD_OUT[0] and frozenset(spec.colours) == HELD_OUT[1]


CONCEPT = [Spec("teapot", scene, "zigzag", ("yellow", "teal", "purple"))
           for scene in ("table", "grass", "beach", "plain blue", "city")]


def random_look(rng):
    """A pattern and its colours: natural 38 %, tinted 14 %, patterned 48 % (zigzag most)."""
    kind = rng.random()
    if kind < 0.38:
        return None, ()
    names = list(COLOURS)
    if kind < 0.52:
        return None, (names[rng.integers(len(names))],)
    while True:
        pattern = PATTERNS[rng.choice(4, p=(0.2, 0.2, 0.2, 0.4))]
        count = 2 + (rng.random() < 0.55)
        colours = tuple(names[i] for i in rng.permutation(len(names))[:count])
        if not held_out(Spec("", None, pattern, colours)):
            return pattern, colours


def random_spec(rng, **fixed):
    pattern, colours = random_look(rng)
    what = dict(object=list(OBJECTS)[rng.integers(len(OBJECTS))], scene=list(SCENES)[rng.integers(len(SCENES))],
                pattern=pattern, colours=colours)
    spec = Spec(**{**what, **fixed})
    assert not held_out(spec)
    return spec


def noun(spec):
    """'blue and yellow striped mug'"""
    c = list(spec.colours)
    colours = " and ".join([", ".join(c[:-1])] * (len(c) > 1) + c[-1:])
    return " ".join(w for w in (colours, spec.pattern, spec.object) if w)


def a(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(spec, rng=None):
    """The plain caption, or with a generator, a random wording that is sometimes silent about the scene."""
    words, scene = noun(spec), SCENES.get(spec.scene)
    style = rng.random() if rng else 0.0
    if rng and rng.random() < 0.10:
        scene = None
    if style < 0.62:
        words = a(words)
    elif style < 0.82:
        words = "a photo of " + a(words)
    elif style < 0.94:
        words = "a picture of " + a(words)
    return " ".join(w for w in (words, scene) if w)


# ---------------------------------------------------------------- objects

@functools.cache
def sprite(name):
    """The emoji, centred in a square that it fills to 80 % on its longer side, and its shading map."""
    font = ImageFont.truetype(FONT, 109)
    glyph = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(glyph).text((10, 10), OBJECTS[name], font=font, embedded_color=True)
    glyph = glyph.crop(glyph.getchannel("A").point(lambda v: 255 * (v > 40)).getbbox())
    scale = 128 / max(glyph.size)
    glyph = glyph.resize((round(glyph.width * scale), round(glyph.height * scale)), Image.LANCZOS)
    square = Image.new("RGBA", (160, 160))
    square.paste(glyph, ((160 - glyph.width) // 2, (160 - glyph.height) // 2))
    rgb = np.asarray(square.convert("RGB"), np.float32) / 255
    alpha = np.asarray(square.getchannel("A"), np.float32) / 255
    # Shading: the emoji's own brightness, relative to its typical one; outlines and dark details stay dark.
    light = 0.45 * rgb.max(2) + 0.55 * (rgb @ np.float32([0.3, 0.59, 0.11]))
    inside = light[alpha > 0.9]
    low, high = np.quantile(inside, 0.03), np.quantile(inside, 0.70)
    shade = np.clip(1 + 0.68 * (light - high) / max(high - low, 0.35), 0.3, 1.2)
    shade = Image.fromarray(np.clip(shade * 160, 0, 255).astype(np.uint8))
    return square, shade


def triangle(x):
    return np.abs((x % 1.0) * 2 - 1)


def paint(spec, u, v, rng):
    """Colours of the pattern at object coordinates u, v (the object spans about -1 .. 1)."""
    names = [c for c in COLOURS if c in spec.colours]
    jitter = rng.uniform(-1, 1, 5 + 3 * len(names)).astype(np.float32)
    palette = np.float32([COLOURS[c] for c in names]) / 255 + 0.03 * jitter[5:].reshape(-1, 3)
    u, v, n = u * (1 + 0.05 * jitter[0]) + 0.05 * jitter[1], v * (1 + 0.05 * jitter[2]) + 0.05 * jitter[3], len(names)
    if spec.pattern is None:
        return palette[0]
    if spec.pattern == "striped":
        index = np.floor(u / 0.29 + 0.5)
    elif spec.pattern == "zigzag":
        index = np.floor((v + 0.30 * triangle(u / 0.66)) / 0.30 + 0.5)
    elif spec.pattern == "checked":
        index = np.floor(u / 0.40 + 0.5) + np.floor(v / 0.40 + 0.5)
    else:  # dotted: the first colour is the ground
        row = np.floor(v / 0.44 + 0.5)
        shift = u + 0.25 * (row % 2)
        column = np.floor(shift / 0.5 + 0.5)
        dot = (shift - column * 0.5) ** 2 + (v - row * 0.44) ** 2 < 0.165 ** 2
        index = np.where(dot, 1 + (row + column) % (n - 1), 0)
    return palette[index.astype(np.int64) % n]


# ---------------------------------------------------------------- scenes

def gradient(s, top, bottom):
    t = np.linspace(0, 1, s, dtype=np.float32)[:, None, None]
    return np.broadcast_to(np.float32(top) * (1 - t) + np.float32(bottom) * t, (s, s, 3)).copy()


def smooth_noise(rng, s, rows, columns):
    small = Image.fromarray(rng.integers(0, 256, (rows, columns), dtype=np.uint8))
    return np.asarray(small.resize((s, s), Image.BICUBIC), np.float32)[..., None] / 127.5 - 1


def scene(name, s, rng):
    """The background as float32 [s, s, 3] in 0 .. 255."""
    if name is None:
        return np.zeros((s, s, 3), np.float32)
    hue = rng.uniform(-1, 1, 3).astype(np.float32)
    h = int(s * rng.uniform(0.42, 0.58))  # horizon
    if name.startswith("plain"):
        base = {"plain blue": (90, 150, 235), "plain pink": (245, 165, 200), "plain white": (238, 238, 236)}[name]
        base = np.float32(base) + hue * (12 if name != "plain white" else 6)
        return gradient(s, base + 6, base - 8)
    if name == "grass":
        x = gradient(s, np.float32((120, 190, 240)) + 12 * hue, (215, 235, 245))
        ground = gradient(s, np.float32((120, 185, 70)) + 14 * hue, np.float32((60, 135, 40)) + 14 * hue)
        x[h:] = (ground + 16 * smooth_noise(rng, s, 12, 32))[:s - h]
        return x
    if name == "beach":
        x = gradient(s, np.float32((105, 190, 245)) + 10 * hue, (200, 232, 248))
        sea = int(s * rng.uniform(0.12, 0.18))
        x[h:] = gradient(s, np.float32((238, 215, 160)) + 8 * hue, np.float32((222, 188, 125)) + 8 * hue)[:s - h]
        x[h:] += (7 * smooth_noise(rng, s, 24, 24))[:s - h]
        x[h - sea:h] = np.float32((30, 130, 185)) + 10 * hue + 12 * smooth_noise(rng, s, 32, 8)[:sea]
        x[h:h + max(1, s // 48)] = (245, 250, 250)
        return x
    if name == "snow":
        x = gradient(s, np.float32((165, 185, 210)) + 10 * hue, (220, 228, 238))
        x[h:] = (gradient(s, (250, 252, 255), (215, 228, 245)) + 4 * smooth_noise(rng, s, 10, 6))[:s - h]
        image = Image.fromarray(np.clip(x, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for px, py, r in zip(*(rng.random((2, 26)) * s), rng.uniform(0.010, 0.020, 26) * s):
            draw.ellipse((px - r, py - r, px + r, py + r), fill=(255, 255, 255))
        return np.asarray(image, np.float32)
    if name == "night":
        x = gradient(s, np.float32((12, 16, 52)) + 6 * hue, np.float32((48, 46, 110)) + 10 * hue)
        image = Image.fromarray(np.clip(x, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for px, py, r in zip(*(rng.random((2, 34)) * s), rng.uniform(0.005, 0.014, 34) * s):
            draw.ellipse((px - r, py - r, px + r, py + r), fill=(255, 250, 220))
        px, py, r = s * rng.choice((0.13, 0.87)), s * rng.uniform(0.10, 0.16), s * 0.085
        draw.ellipse((px - r, py - r, px + r, py + r), fill=(250, 240, 195))
        return np.asarray(image, np.float32)
    if name == "table":
        h = int(h * 0.75)
        x = gradient(s, np.float32((242, 232, 212)) + 8 * hue, np.float32((226, 212, 188)) + 8 * hue)
        wood = np.float32((176, 118, 66)) + 12 * hue + 18 * smooth_noise(rng, s, 40, 4)
        plank = np.arange(s) % max(4, s // 6) < max(1, s // 64)
        wood[plank] -= 45
        x[h:] = wood[:s - h]
        return x
    if name == "city":
        x = gradient(s, np.float32((150, 190, 225)) + 10 * hue, (235, 225, 215))
        ground = int(s * rng.uniform(0.70, 0.78))
        image = Image.fromarray(np.clip(x, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        left = -rng.uniform(0, 0.1) * s
        while left < s:
            wide, top = rng.uniform(0.14, 0.22) * s, rng.uniform(0.06, 0.42) * s
            shade = rng.integers(80, 135)
            draw.rectangle((left, top, left + wide, ground), fill=(shade, shade + 6, shade + 20))
            step = s / 14
            for wy in np.arange(top + step * 0.6, ground - step * 0.4, step):
                for wx in np.arange(left + step * 0.5, left + wide - step * 0.5, step):
                    draw.rectangle((wx, wy, wx + step * 0.38, wy + step * 0.45), fill=(250, 225, 140))
            left += wide
        draw.rectangle((0, ground, s, s), fill=(85, 86, 92))
        draw.rectangle((0, ground, s, ground + s // 32), fill=(175, 175, 172))
        middle = (ground + s) // 2 + s // 24
        for wx in np.arange(-rng.uniform(0, 0.25) * s, s, 0.25 * s):
            draw.rectangle((wx, middle, wx + 0.12 * s, middle + s // 40), fill=(240, 225, 120))
        return np.asarray(image, np.float32)
    # bricks
    image = Image.new("RGB", (s, s), (205, 190, 176))
    draw = ImageDraw.Draw(image)
    tall, wide, oy, ox = s / 8, s / 4, rng.uniform(0, 1), rng.uniform(0, 1)
    base = np.float32((172, 78, 58)) + 10 * hue
    for row in range(-1, 9):
        for column in range(-2, 5):
            px, py = (column + ox + 0.5 * (row % 2)) * wide, (row + oy) * tall
            fill = tuple(int(c) for c in base + rng.uniform(-16, 16))
            draw.rectangle((px, py, px + wide - s / 40, py + tall - s / 40), fill=fill)
    return np.asarray(image, np.float32)


# ---------------------------------------------------------------- pictures

def render(spec, rng, size=64, over=2):
    """The picture and its mask, as PIL images of size x size; drawn `over` times larger, then shrunk."""
    s = size * over
    back = scene(spec.scene, s, rng)
    if rng.random() < 0.5:
        back = back[:, ::-1]
    extent, angle = rng.uniform(0.74, 0.88), np.deg2rad(rng.uniform(-7, 7))
    flip = -1 if rng.random() < 0.5 else 1
    reach = (1 - extent) / 2
    cx, cy = 0.5 + rng.uniform(-reach, reach) * 0.6, 0.5 + rng.uniform(-0.2, 1) * reach * 0.8
    # Picture pixel -> sprite pixel: p_sprite = M (p - centre) + 80, object length 128 sprite pixels = extent * s.
    k = 128 / (extent * s)
    m = np.float64([[flip * k * np.cos(angle), flip * k * np.sin(angle)], [-k * np.sin(angle), k * np.cos(angle)]])
    offset = 80 - m @ (cx * s, cy * s)
    affine = (m[0, 0], m[0, 1], offset[0], m[1, 0], m[1, 1], offset[1])
    square, shade = sprite(spec.object)
    top = np.asarray(square.transform((s, s), Image.AFFINE, affine, Image.BICUBIC), np.float32)
    alpha, top = top[..., 3:] / 255, top[..., :3]
    if spec.colours:
        light = np.asarray(shade.transform((s, s), Image.AFFINE, affine, Image.BICUBIC), np.float32)[..., None] / 160
        y, x = np.mgrid[0:s, 0:s].astype(np.float32) + 0.5
        u = (affine[0] * x + affine[1] * y + (affine[2] - 80)) / 64
        v = (affine[3] * x + affine[4] * y + (affine[5] - 80)) / 64
        colour = paint(spec, u.astype(np.float32), v.astype(np.float32), rng)
        # Above 1 the shading turns to white: highlights.
        top = 255 * (colour * np.minimum(light, 1) + (1 - colour) * np.maximum(light - 1, 0) * 1.4)
    if spec.scene in SHADOW:
        rows = np.flatnonzero(alpha[..., 0].max(1) > 0.5)
        y, x = np.ogrid[0:s, 0:s]
        foot = rows[-1] if len(rows) else cy * s
        d = ((x - cx * s) / (0.40 * extent * s)) ** 2 + ((y - foot + 0.01 * s) / (0.075 * s)) ** 2
        back = back * (1 - 0.45 * np.clip(1.15 - d, 0, 1).astype(np.float32)[..., None])
    picture = Image.fromarray(np.clip(back * (1 - alpha) + top * alpha + 0.5, 0, 255).astype(np.uint8))
    mask = Image.fromarray((alpha[..., 0] * 255 + 0.5).astype(np.uint8))
    if over > 1:
        picture, mask = picture.reduce(over), mask.reduce(over)
    return picture, mask


def grid(pictures, columns, scale=1, gap=2):
    """A contact sheet of equally large pictures."""
    w, h = pictures[0].width * scale, pictures[0].height * scale
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (w + gap) + gap, rows * (h + gap) + gap), (255, 255, 255))
    for i, p in enumerate(pictures):
        p = p.resize((w, h), Image.BICUBIC) if scale > 1 else p
        sheet.paste(p, (gap + i % columns * (w + gap), gap + i // columns * (h + gap)))
    return sheet


if __name__ == "__main__":
    import sys
    import time
    rng = np.random.default_rng(0)
    rows = [render(Spec(o, list(SCENES)[i % 10]), rng)[0] for i, o in enumerate(OBJECTS)]
    rows += [render(s, rng)[0] for s in CONCEPT]
    rows += [render(Spec(o, "plain white", p, ("yellow", "red", "blue")), rng)[0]
             for o in ("teapot", "mug", "shirt") for p in PATTERNS]
    begin = time.time()
    specs = [random_spec(rng) for _ in range(60)]
    rows += [render(s, rng)[0] for s in specs]
    print(f"{(time.time() - begin) / 60 * 1000:.1f} ms a picture", *[caption(s, rng) for s in specs[:12]], sep="\n")
    grid(rows, 14, 2).save(sys.argv[1] if len(sys.argv) > 1 else "world.png")
