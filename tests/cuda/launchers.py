#!/usr/bin/env python3
"""Makes a C++ file of a module of kernels out of what the preprocessor left of its source.

    launchers.py MODULE IN OUT [one-lane]

Every kernel becomes a function of its file: so kernels of one name in two modules do not meet, and a launcher can take it in. After
them stand the table of launchers and the module's registration. A kernel is what `extern "C" SOFT_GLOBAL void` begins; in `one-lane`
those are left out whose threads do not loop over the grid.
"""

import re
import sys

# Each thread of these computes one element and no more: they need the grid that they are launched with.
ONE_ELEMENT_A_THREAD = ("copy2d_",)

module, source, output = sys.argv[1:4]
one_lane = sys.argv[4:] == ["one-lane"]
text = open(source).read()
kernels = []


def kernel(match):
    name, parameters = match.group(1), match.group(2)
    names = [re.search(r"(\w+)\s*$", parameter).group(1) for parameter in parameters.split(",")]
    if not (one_lane and name.startswith(ONE_ELEMENT_A_THREAD)):
        kernels.append((name, ",".join(names)))
    return f"static void {name}({parameters})"


text = re.sub(r'extern\s+"C"\s+SOFT_GLOBAL\s+void\s+(\w+)\s*\(([^)]*)\)', kernel, text)
if "SOFT_GLOBAL" in text:
    sys.exit(f"{module}: a kernel is declared in a way that launchers.py does not know")
if not kernels:
    sys.exit(f"{module}: no kernel found")
# One block runs at a time: its shared memory is a variable. That whose size the launch gives is as large as it may be: 163 KiB.
shared = set(re.findall(r"extern\s+SOFT_SHARED\s+(\w+)\s+(\w+)\s*\[\s*\]", text))
text = re.sub(r"extern\s+SOFT_SHARED\b", "extern", text)
text = re.sub(r"\bSOFT_SHARED\b", "static", text)
with open(output, "w") as out:
    out.write(text)
    out.write("\n")
    for kind, name in sorted(shared):
        out.write(f"{kind} {name}[163 * 1024 / sizeof({kind})];\n")
    out.write("}\nstatic const soft::Kernel KERNELS[] = {\n")
    for name, names in kernels:
        launcher = f"soft::Launcher<&{name}>"
        out.write(f'    {{"{name}", "{names}", {launcher}::PARAMETERS, {launcher}::COUNT, {launcher}::run}},\n')
    out.write("};\n")
    lanes = "true" if one_lane else "false"
    out.write(f'__attribute__((constructor)) static void add() {{ soft::add_module("{module}", {lanes}, KERNELS, {len(kernels)}); }}\n')
