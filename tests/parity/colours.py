"""Photos with colour profiles, and what lcms2 makes of them: writes tests/fixtures/colours/.

Needs Pillow 13 with ImageCms. Profiles: sRGB and a linear one by lcms2; Display P3 and Adobe RGB (1998) are written here
from their published primaries (matrix and curve), as is one of grey with the gamma 1.8; none is copied.
"""

import io
import struct
from pathlib import Path

from PIL import Image, ImageCms

OUT = Path(__file__).parent.parent / "fixtures" / "colours"

# Primaries adapted to D50 (Bradford), white 0.9642 1.0 0.8249.
P3 = [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]
ADOBE = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]


def number(value):
    return struct.pack(">i", round(value * 65536))


def xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(map(number, values))


def text(name):
    coded = name.encode("ascii") + b"\0"
    body = b"desc\0\0\0\0" + struct.pack(">I", len(coded)) + coded + b"\0" * (4 + 4 + 2 + 1 + 67)
    return body + b"\0" * (-len(body) % 4)


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def srgb_curve():
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + b"".join(map(number, [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]))


def profile(name, space, tags):
    tags = [(b"desc", text(name)), (b"cprt", b"text\0\0\0\0free\0\0\0\0"), (b"wtpt", xyz((0.9642, 1.0, 0.8249)))] + tags
    table, data = struct.pack(">I", len(tags)), b""
    at = 128 + 4 + 12 * len(tags)
    for sign, body in tags:
        table += sign + struct.pack(">II", at + len(data), len(body))
        data += body
    head = b"none" + bytes.fromhex("02400000") + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(4 * 7) + b"".join(map(number, (0.9642, 1.0, 0.8249)))
    head = struct.pack(">I", 128 + len(table) + len(data)) + head
    return head + bytes(128 - len(head)) + table + data


def rgb(name, primaries, curve):
    tags = [(sign, xyz(values)) for sign, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries)]
    return profile(name, b"RGB ", tags + [(sign, curve) for sign in (b"rTRC", b"gTRC", b"bTRC")])


def gradient(size=64):
    """Greys, pure colours, their mixtures."""
    image = Image.new("RGB", (size, size))
    step = 255 / (size - 1)
    for y in range(size):
        for x in range(size):
            a, b = round(x * step), round(y * step)
            image.putpixel((x, y), [(a, b, 128), (a, 255 - a, b), (a, a, a), (255, a, b)][(x + y) % 4])
    return image


def main():
    OUT.mkdir(exist_ok=True)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    picture = gradient()
    picture.save(OUT / "plain.png", optimize=True)
    profiles = {
        "p3": rgb("Display P3", P3, srgb_curve()),
        "adobe": rgb("Adobe RGB (1998)", ADOBE, gamma(2.19921875)),
        "srgb": srgb.tobytes(),
    }
    for name, icc in profiles.items():
        picture.save(OUT / f"{name}.png", icc_profile=icc, optimize=True)
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB").save(OUT / f"{name}_lcms.png", optimize=True)
    picture.save(OUT / "p3.jpg", icc_profile=profiles["p3"], quality=95, subsampling=0)
    picture.save(OUT / "p3.webp", icc_profile=profiles["p3"], lossless=True)
    picture.convert("RGBA").save(OUT / "p3_alpha.png", icc_profile=profiles["p3"], optimize=True)
    picture.save(OUT / "broken.png", icc_profile=profiles["p3"][:200], optimize=True)
    grey = profile("Grey 1.8", b"GRAY", [(b"kTRC", gamma(1.8))])
    ramp = Image.new("L", (256, 1))
    ramp.putdata(range(256))
    ramp.save(OUT / "grey.png", icc_profile=grey)
    ImageCms.profileToProfile(ramp, ImageCms.ImageCmsProfile(io.BytesIO(grey)), srgb, outputMode="RGB").save(OUT / "grey_lcms.png")
    ramp.save(OUT / "grey_of_colours.png", icc_profile=profiles["p3"])
    cmyk = profile("A press", b"CMYK", [])
    picture.convert("CMYK").save(OUT / "cmyk.jpg", icc_profile=cmyk, quality=90)


main()
